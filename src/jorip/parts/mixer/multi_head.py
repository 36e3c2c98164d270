"""The multi-head shell: Concat(head_1 .. head_H) W^O, head_i = mechanism(Q W_i^Q, K W_i^K, V W_i^V) (survey Eq 2-3).

The shell projects, splits heads, rotates, keeps the decoding state and merges; the mechanism inside maps streams to
values. `n_kv_heads` of the site makes it multi-query (1; A8.8, Shazeer 2019, 1911.02150) or grouped-query (2305.13245);
`head_dim` is free (A8.9, Bhojanapalli et al. 2020, 2002.07028).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import Refused
from jorip.core.init import Linear
from jorip.core.layout import Layout, Rows
from jorip.core.site import Site
from jorip.core.state import Source, State
from jorip.ops.linear import linears
from jorip.parts.attention.base import Mechanism, MechanismModule
from jorip.parts.attention.full import Full
from jorip.parts.attention.late import Late
from jorip.parts.mixer.base import Carry, Mixer, MixerModule
from jorip.parts.norm.base import Norm
from jorip.parts.norm.rms_norm import RmsNorm

TOGETHER = 64  # rows from which on the projections are one product: a copy of all weights costs less than calls


class MultiHead(Mixer):
    """mechanism: what happens inside; bias: of the four projections (the survey's counts have none); out_bias: of the
    last one, None = as the others; qk_norm: of each head's queries and keys, before they are rotated (2010.04245)."""

    ids = ("A8.8", "A8.9")
    mechanism: Mechanism = Full()
    bias: bool = True
    out_bias: bool | None = None
    qk_norm: Norm | None = None

    @property
    def nodes(self):
        return self.mechanism.nodes

    def check(self, site: Site) -> None:
        if site.n_heads % site.n_kv_heads:
            raise Refused(
                f"{site.path}: n_heads must be a multiple of n_kv_heads, found {site.n_heads} and {site.n_kv_heads}"
            )
        self.mechanism.check(site)

    def build(self, site: Site) -> MultiHeadMixer:
        self.check(site)
        heads = site.at("norms", d_model=site.head_dim)
        norms = {n: self.qk_norm.build(heads.at(n)) for n in ("q", "k")} if self.qk_norm else {}
        out_bias = self.bias if self.out_bias is None else self.out_bias
        return MultiHeadMixer(self.mechanism.build(site), site, self.bias, out_bias, norms)

    def cost(self, site: Site, shape: Shape) -> Cost:
        """The memory that a crossing part reads is counted where it is made, late streams by the mechanism."""
        shape = shape.crossing() if site.cross else shape
        shape = shape._replace(normed=self.qk_norm is not None)
        length = shape.memory if site.cross else shape.length
        linear = flat = changed = normed = stats = 0
        joined: dict[bool, list[int]] = {False: [], True: []}  # weights that one product reads side by side, by side
        with torch.device("meta"):
            mechanism = self.mechanism.build(site)
        streams, late = mechanism.streams(site), mechanism.late
        for name, s in streams.items():
            width = (site.d_memory if s.memory and site.cross else site.d_model) or site.d_model
            longest = length if s.memory else shape.length
            own = self.mechanism.late_rows(name, site, shape) if name in late else longest
            rows = shape.batch * own
            size = rows * s.heads * s.dim
            linear = linear + size * width
            is_normed = self.qk_norm is not None and name.removesuffix("_global") in ("q", "k")
            if self.qk_norm is not None and is_normed:
                stats += self.qk_norm.cost(site.at("norms", d_model=s.dim), Shape(rows, s.heads)).activations - size
            if name in late:
                stats += size * is_normed  # what the norm reads
                continue
            flat, normed = flat + size, normed + size * is_normed
            if rows >= TOGETHER:
                joined[s.memory and site.cross].append(width * s.heads * s.dim)
            if is_normed or (shape.rotated and s.rotate):
                changed += size
        weights = sum(sum(w) for w in joined.values() if len(w) > 1)
        inside = self.mechanism.cost(site, shape)
        outs, merged = shape.rows * site.d_model, shape.rows * site.n_heads * site.head_dim
        if weights:  # views of one tensor: it is kept whole, or not at all
            kept = (flat if normed or not inside.copies else 0) + (inside.copies or changed)
        else:
            kept = normed + (inside.copies or flat)
        shell = Cost(
            linear=linear + merged * site.d_model,
            activations=outs + weights + kept + stats,
            state=shape.batch * self.mechanism.state_size(site, length, streams) if site.causal or site.cross else 0,
            work=flat + max(weights, changed + max(inside.working, merged + outs)),
            back=outs + site.n_heads * site.head_dim * site.d_model + inside.going_back,
        )
        return replace(inside + shell, copies=0)

    @classmethod
    def examples(cls) -> tuple[MultiHead, ...]:
        whole = tuple(cls(mechanism=e) for m in Mechanism.members().values() for e in m.examples())
        return (*whole, cls(qk_norm=RmsNorm(), bias=False), cls(out_bias=False))


class MultiHeadMixer(MixerModule):
    def __init__(
        self,
        mechanism: MechanismModule,
        site: Site,
        bias: bool = True,
        out_bias: bool = True,
        norms: dict[str, nn.Module] | None = None,
    ):
        super().__init__()
        self.mechanism, self.path, self.cross = mechanism, site.path, site.cross
        self.streams = mechanism.streams(site)
        self.causal = site.causal
        for name, s in self.streams.items():
            width = (site.d_memory if s.memory and site.cross else site.d_model) or site.d_model
            self.add_module(name, Linear(width, s.heads * s.dim, bias, role="in"))
        self.out = Linear(site.n_heads * site.head_dim, site.d_model, out_bias, role="out")
        self.norms = nn.ModuleDict(norms or {})

    def forward(self, x: Rows, carry: Carry, ctx: Context, memory: Rows | None = None) -> tuple[Tensor, Carry]:
        ctx = ctx.crossing() if self.cross else ctx
        state = ctx.part_state(self.path)
        if self.cross and state is not None and self.foldable(state, x.at, ctx):
            return self.beams_as_queries(x, carry, ctx, state)
        s, k_at = self.read(x, memory, ctx, state)
        if self.path in ctx.captures:
            ctx.captures[self.path] = self.mechanism.weights(s, x.at, k_at, ctx)
        y, carry = self.mechanism(s, x.at, k_at, carry, ctx)
        (merged,) = self.linears(x.at.rows(y.transpose(1, 2).flatten(2)), ["out"])
        return merged, carry

    def read(self, x: Rows, memory: Rows | None, ctx: Context, state) -> tuple[dict[str, Tensor], Layout]:
        """All streams as grids, and where the keys are: this call's rows, the memory, or all that the state keeps."""
        if self.cross:
            assert memory is not None, f"{self.path} reads a memory, and none was given"
            s = grids(self.project(x, ctx, memory=False), x.at)
            if self.mechanism.folds and state is not None and state.filled:
                return s, memory.at
            if state is None or self.mechanism.folds:
                return s | grids(self.project(memory, ctx, memory=True), memory.at), memory.at
            if state.streams is None:  # the first step: from then on the memory's streams are held once per source
                state.keep(grids(self.project(memory, ctx, memory=True), memory.at), memory.at)
            return s | state.read(), state.span()
        s = self.project(x, ctx, memory=None)
        if state is None or self.mechanism.folds:
            return grids(s, x.at), x.at
        kept, k_at = state.append({n: r for n, r in s.items() if self.streams[n].memory}, x.at)
        return grids({n: r for n, r in s.items() if n not in kept}, x.at) | kept, k_at

    def foldable(self, state: State, at: Layout, ctx: Context) -> bool:
        """Whether several rows of the batch read each source and what one may see is the same for all of them."""
        if not isinstance(state, Source):
            return False
        regular = state.streams is not None and (state.per_source or 0) > 1
        return regular and at.full and ctx.mask.everything and self.path not in ctx.captures

    def beams_as_queries(self, x: Rows, carry: Carry, ctx: Context, state: Source) -> tuple[Tensor, Carry]:
        """The beams of a source as further queries of one sequence, so that its keys and values are not copied."""
        assert state.at is not None and state.streams is not None
        q_at = Layout.of(x.at.lengths.new_full((state.at.batch,), x.x.shape[0] // max(state.at.batch, 1)))
        s = grids(self.project(x, ctx, memory=False), q_at)
        y, carry = self.mechanism(s | state.streams, q_at, state.at, carry, ctx)
        return self.out(q_at.rows(y.transpose(1, 2).flatten(2))), carry

    def project(self, x: Rows, ctx: Context, memory: bool | None) -> dict[str, Tensor]:
        """Streams of one side (None: both) as rows (rows, heads, dim), rotated where they ask for it; late ones as
        `Late`."""
        names = [n for n, s in self.streams.items() if memory is None or s.memory == memory]
        late = self.mechanism.late
        rows: dict[str, Any] = {}
        now = [n for n in names if n not in late]
        for name, flat in zip(now, self.linears(x.x, now)):
            r = flat.unflatten(-1, (self.streams[name].heads, -1))
            norm, rotate = self.after(name, x.at, ctx)
            r = r if norm is None else norm(r)
            rows[name] = r if rotate is None else rotate(r)
        for name in (n for n in names if n in late):
            linear, heads = self.get_submodule(name), self.streams[name].heads
            rows[name] = Late(x, linear, heads, *self.after(name, x.at, ctx))
        return rows

    def after(self, name: str, at: Layout, ctx: Context) -> tuple[nn.Module | None, Callable | None]:
        """What becomes of a stream's projected rows (rows, heads, dim): norm, then rotation; None = nothing."""
        norm = dict(self.norms.items()).get(name.removesuffix("_global"))  # queries are queries, whoever reads
        position = ctx.position if self.streams[name].rotate else None
        if position is None or not position.rotates:
            return norm, None
        return norm, lambda r: position.rotate(r, at, ctx)

    def linears(self, x: Tensor, names: list[str]) -> list[Tensor]:
        """One product for all of them when there are many rows: fewer, larger calls."""
        maps = [self.get_submodule(n) for n in names]
        # not wrapped, by LoRA say, and nobody waits for the call
        plain = [m for m in maps if type(m) is Linear and not (m._forward_hooks or m._forward_pre_hooks)]
        if x.shape[0] < TOGETHER or len(plain) < len(maps):
            return [m(x) for m in maps]
        return linears(x, plain) if plain else []

    def new_state(self, batch: int, capacity: int, dtype, device=None):
        if self.cross and not self.mechanism.folds:
            return Source.empty(batch, device)
        if not self.causal and not self.cross:
            return None
        shapes = {n: (s.heads, s.dim) for n, s in self.streams.items() if s.memory}
        return self.mechanism.new_state(batch, capacity, shapes, dtype, device)


def grids(rows: dict[str, Tensor], at: Layout) -> dict[str, Tensor]:
    """(rows, heads, dim) -> (batch, heads, longest, dim) each; late streams as they are."""
    return {n: r if isinstance(r, Late) else at.grid(r).transpose(1, 2) for n, r in rows.items()}
