"""Longformer (A1.7; Beltagy et al. 2020, 2004.05150): a window around each row, dilated in some heads if wanted, and
global rows, which everybody reads and which read everything through projections of their own. O(T (w + g) D).

    ordinary row i:  softmax(q_i K_S^T / sqrt(d)) V_S,  S = the window of i and the global rows
    global row i:    softmax(q'_i K'^T / sqrt(d)) V',   q', K', V' projected by W'_q, W'_k, W'_v
"""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field, field_validator
from torch import Tensor

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import Refused
from jorip.core.mask import Everything
from jorip.core.site import Site
from jorip.ops.attention import attend, attention_weights, hidden, shared_heads
from jorip.ops.few import STRETCH, attend_few, attend_inputs, put_rows
from jorip.parts.attention.base import Stream, qkv, score_bias
from jorip.parts.attention.costs import all_pairs
from jorip.parts.attention.patterns.band import Band, Dilated
from jorip.parts.attention.patterns.base import Pattern
from jorip.parts.attention.patterns.global_ import Global
from jorip.parts.attention.patterns.per_head import PerHead
from jorip.parts.attention.sparse.patterned import Patterned, SparseAttention, layers_to_span
from jorip.parts.attention.sparse.program import Situation, hub_rows


class Longformer(Patterned):
    """window: rows seen on each side (half of what transformers calls attention_window); dilation: distance between
    them, one number for each group of neighbouring heads (the paper dilates two heads in its upper layers).

    first: so many rows at the start are global; tag: those that the call marks by this name are,
    `model(tokens, marks={tag: ...})`. Both 0 and None: a dilated window alone, as the paper's language model has.
    separate: global rows read through projections of their own, which the paper finds crucial.

    Refused where a memory is read; in a causal stack global rows have no projections of their own and no tag.
    """

    ids = ("A1.7",)
    window: int = Field(default=256, ge=0, le=2**28)
    dilation: tuple[int, ...] = (1,)
    first: int = Field(default=1, ge=0, le=2**20)
    tag: str | None = None
    separate: bool = True

    @field_validator("dilation", mode="before")
    @classmethod
    def _several(cls, value):
        several = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not several or any(isinstance(d, int) and d < 1 for d in several):
            raise ValueError(f"dilation is 1 or more for each group of heads, found {value!r}")
        return several

    @property
    def hubs(self) -> Global | None:
        return Global(first=self.first, tag=self.tag) if self.first or self.tag else None

    @property
    def own(self) -> bool:
        """Whether there are global rows with projections of their own."""
        return self.separate and self.hubs is not None

    def pattern(self, reads_all: bool) -> Pattern:
        """reads_all: whether what the hubs read belongs to it."""
        w = self.window
        windows = [Band(left=w, right=w) if d == 1 else Dilated(left=w, right=w, gap=d) for d in self.dilation]
        hubs = None if self.hubs is None else self.hubs.with_fields(rows=reads_all)
        heads = [p if hubs is None else p | hubs for p in windows]
        return heads[0] if len(heads) == 1 else PerHead(of=tuple(heads))

    def at(self, site: Site) -> Pattern:
        return self.pattern(not self.own)

    def check(self, site: Site) -> None:
        super().check(site)
        if site.causal and self.own:
            raise Refused(
                f"{site.path}: in a causal stack the first rows read next to nothing, which needs no projections of "
                "their own: separate=False, or first=0 for the window alone"
            )

    def build(self, site: Site) -> SparseAttention:
        self.check(site)
        if self.hubs is None or not self.separate:
            return super().build(site)
        return LongformerAttention(self.at(site), self.hubs, site, site.head_dim**-0.5, self.executor)

    def folds(self, site: Site, shape: Shape) -> bool:
        """Whether the projections of keys and values are folded; where rows are marked, that is not known here."""
        plain = not (shape.rotated or shape.normed or shape.bias != "none" or self.tag)
        hubs = min(self.first, shape.length)
        return plain and folding_pays(hubs, site.n_heads, site.head_dim, site.n_kv_heads, site.d_model)

    def late_rows(self, name: str, site: Site, shape: Shape) -> int:
        """Global queries are made where they are needed; marked rows are not known here."""
        if name == "q_global":
            return shape.length if shape.bias != "none" else min(self.first, shape.length)
        return 0 if self.folds(site, shape) else shape.length

    def cost(self, site: Site, shape: Shape) -> Cost:
        cost = super().cost(site, shape)
        if not self.own:
            return cost
        outs, read = (shape.rows * n * site.head_dim for n in (site.n_heads, site.n_kv_heads))
        path = layers_to_span(self.pattern(True), shape.length, site.causal, site.n_heads)
        if shape.bias != "none":  # global rows are picked from what all rows read
            all_ = all_pairs(site, shape)
            # a learned bias goes with scaled copies of queries and keys, or of all three
            streams = outs + 2 * read if shape.bias == "fixed" else 0 if all_.copies else read
            both = replace(cost + all_, activations=cost.activations + all_.activations + streams, copies=cost.copies)
            work = max(cost.work, 3 * outs + 2 * read + all_.work)
            back = max(cost.back - all_.activations, all_.back)  # global rows' come first, and are free then
            return replace(both, work=work, back=back, sequential=cost.sequential, path=path)
        groups = self.tiles(site, shape.length)
        few = shape.batch * min(self.first, shape.length) * site.n_heads  # queries of all heads
        # whether answers are put into a copy of the others
        copied = groups is None or all(p.views for parts, _ in groups for p in parts)
        cost = replace(cost, path=path, activations=cost.activations + copied * outs)
        scores = min(few * shape.length // max(shape.batch, 1), STRETCH)
        if self.folds(site, shape):
            folded = few * site.d_model  # queries, and what they read
            return replace(
                cost,
                mixing=cost.mixing + 2 * folded * (shape.length + site.head_dim),
                activations=cost.activations + 2 * folded,
                work=max(cost.work, 2 * outs + 2 * folded + scores),
                back=max(cost.back, 3 * shape.rows * site.d_model + 2 * scores),
            )
        return replace(
            cost,
            mixing=cost.mixing + 2 * few * shape.length * site.head_dim,
            activations=cost.activations + 2 * outs,
            work=max(cost.work, 2 * outs + 2 * read + scores),
        )

    @classmethod
    def examples(cls):
        return (
            cls(window=1, first=1),
            cls(window=2, dilation=(1, 2), first=2, executor="tiles"),
            cls(window=2, dilation=(2,), first=1, separate=False, executor="tiles"),
        )


def folding_pays(hubs: int, heads: int, dim: int, key_heads: int, width: int) -> bool:
    """Whether global rows that read all inputs through folded projections (`ops/few`) take fewer operations than keys
    and values of all rows."""
    return hubs * heads * (width - dim) < width * key_heads * dim


class LongformerAttention(SparseAttention):
    """pattern: of the ordinary rows; hubs: which rows read everything, through streams of their own."""

    late = ("q_global", "k_global", "v_global")

    def __init__(self, pattern: Pattern, hubs: Global, site: Site, scale: float, executor: str):
        super().__init__(pattern, site, scale, executor)
        self.hubs = hubs

    def streams(self, site: Site) -> dict[str, Stream]:
        usual = qkv(site)
        return usual | {f"{name}_global": stream for name, stream in usual.items()}

    def forward(self, s, q_at, k_at, carry, ctx: Context):
        y, carry = super().forward(s, q_at, k_at, carry, ctx)
        hubs = self.hub_rows(q_at, ctx)
        if not hubs.shape[1]:
            return y, carry
        q, k, v = (s[f"{n}_global"] for n in "qkv")
        bias = score_bias(q_at, k_at, ctx)
        if bias is not None or not isinstance(ctx.mask, Everything):
            z = attend(q.grid(), k.grid(), v.grid(), ctx.mask, q_at, k_at, self.scale, bias)
            return torch.where(self.is_hub(hubs, q_at), z, y), carry
        few, unseen = q.some(hubs), None if q_at.full else hidden(q_at.real, y.dtype)
        _, heads, count, dim = few.shape
        if k.plain and v.plain and folding_pays(count, heads, dim, k.heads, k.plain.in_features):
            # the bias of keys changes nothing, so its gradient is zero, not absent
            bias = None if v.plain.bias is None else v.plain.bias + 0 * k.plain.bias
            z = attend_inputs(few, k.inputs(), k.plain.weight, v.plain.weight, bias, unseen, self.scale)
        else:
            z = attend_few(few, shared_heads(few, k.grid()), shared_heads(few, v.grid()), unseen, self.scale)
        return put_rows(y, hubs, z), carry

    def weights(self, s, q_at, k_at, ctx):
        own = super().weights(s, q_at, k_at, ctx)
        q, k = s["q_global"].grid(), s["k_global"].grid()
        whole = attention_weights(q, k, ctx.mask, q_at, k_at, self.scale, score_bias(q_at, k_at, ctx))
        return torch.where(self.is_hub(self.hub_rows(q_at, ctx), q_at), whole, own)

    def hub_rows(self, at, ctx: Context) -> Tensor:
        """(batch, count) int64, -1 = none."""
        name = ("hubs", self.hubs, id(at))
        if name not in ctx.shared:  # the layout is kept beside it, so that its id cannot come to name another one
            where = Situation(at.lengths, at.longest, self.heads, False, 0, self.marks(at))
            ctx.shared[name] = at, hub_rows((self.hubs,), where)
        return ctx.shared[name][1]

    def is_hub(self, hubs: Tensor, at) -> Tensor:
        """(batch, 1, longest, 1) bool."""
        found = torch.zeros(at.batch, at.longest + 1, dtype=torch.bool, device=hubs.device)
        return found.scatter(1, hubs % (at.longest + 1), True)[:, None, :-1, None]
