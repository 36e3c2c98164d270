"""BP-Transformer (A1.12; Ye et al. 2019, 1911.04070; survey 4.1.1): rows read rows nearby and coarser spans farther
away, spans read the rows that they hold (`patterns/tree`). O(k T log(T / k)) time and memory, in training too.

The paper also learns a vector for each kind of edge, which it adds to the keys; here order comes from the stack's
position encoding, which a span shares as the row in its middle.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import Refused
from jorip.core.layout import Layout
from jorip.core.mask import Causal, Everything
from jorip.core.site import Site
from jorip.ops import postorder
from jorip.ops.attention import hidden, shared_heads
from jorip.ops.tiles import BLIND, attend_tiles
from jorip.parts.attention.base import score_bias
from jorip.parts.attention.costs import Tiled, tiled
from jorip.parts.attention.patterns.base import Pattern
from jorip.parts.attention.patterns.tree import Tree
from jorip.parts.attention.sparse.patterned import Patterned, SparseAttention, layers_to_span
from jorip.parts.attention.sparse.tree_plan import ROWS, TreePlan, slot_of, tree_plan

_LEAST = 128  # rows and spans up to which all pairs are computed


class BpTransformer(Patterned):
    """near: nodes of each level that a row reads on either side (the paper's k: 4 to 64, the larger the longer what is
    read; the default is between). The stack has `nodes=spans`.

    Refused where the stack has no spans, and where a memory is read.
    """

    ids = ("A1.12",)
    nodes = ("spans",)
    near: int = Field(default=16, gt=0, le=2**28)

    def check(self, site: Site) -> None:
        if site.nodes != "spans" and not site.cross:
            raise Refused(
                f"{site.path}: {self.kind} reads spans, which are rows that the stack adds: set nodes=spans on it"
            )
        super().check(site)

    def at(self, site: Site) -> Pattern:
        return Tree(near=self.near)

    def build(self, site: Site) -> TreeAttention:
        self.check(site)
        return TreeAttention(self.near, site, self.executor)

    def cost(self, site: Site, shape: Shape) -> Cost:
        """shape: of rows and spans. The three streams are laid into the frame, and then by heads."""
        plan = self.plan(site, shape.length) if shape.bias == "none" else None
        path = layers_to_span(self.at(site), shape.length, site.causal, site.n_heads)
        if plan is None or not use_plan(plan, shape.length, self.executor):
            return replace(self.whole_cost(site, shape), path=path)
        width = shape.batch * site.n_heads * site.head_dim
        tiles, levels = plan.long.shape
        spans = tiles * (ROWS + levels)
        rows = Tiled(plan.padded * plan.rows.table.shape[2], plan.padded, plan.length - plan.padded, moved=True)
        cost = tiled(site, shape, [rows, Tiled(spans * ROWS, spans, moved=True)])
        answers = (plan.padded + 2 * spans) * width + (plan.padded + spans) * width // site.head_dim
        return replace(
            cost,
            path=path,
            activations=shape.rows * site.n_heads * site.head_dim + answers,
            copies=3 * plan.length * width,
            work=max(cost.work + 2 * plan.length * width, 6 * plan.length * width),
        )

    def plan(self, site: Site, length: int) -> TreePlan | None:
        if self.executor == "dense" or not length:
            return None
        n = int(postorder.rows_of(torch.tensor(length), site.causal))
        return tree_plan(-(-n // ROWS) * ROWS, self.near, site.causal, "cpu")

    @classmethod
    def examples(cls):
        return (cls(near=1), cls(near=2, executor="tiles"))


def use_plan(plan: TreePlan, length: int, executor: str) -> bool:
    return executor == "tiles" or (length > _LEAST and 2 * plan.pairs <= length**2)


class TreeAttention(SparseAttention):
    def __init__(self, near: int, site: Site, executor: str):
        super().__init__(Tree(near=near), site, site.head_dim**-0.5, executor)
        self.near = near

    def programs(self, s, q_at, k_at, ctx: Context) -> None:
        """None of those that any pattern has."""

    def forward(self, s, q_at, k_at, carry, ctx: Context):
        fits = q_at is k_at and q_at.start is None and isinstance(ctx.mask, Causal | Everything)
        least = _LEAST if self.executor == "auto" else 0
        if fits and self.executor != "dense" and q_at.longest > least and score_bias(q_at, k_at, ctx) is None:
            frame, unseen, plan = self.frame(q_at, ctx)
            if use_plan(plan, q_at.longest, self.executor):
                return self.tiled(s, q_at, frame, unseen, plan), carry
        return super().forward(s, q_at, k_at, carry, ctx)

    def frame(self, at: Layout, ctx: Context) -> tuple[Layout, Tensor, TreePlan]:
        """The rows in the order of the plan; and (batch or 1, slots): -inf where there is nothing."""
        name = ("tree", self.near, id(at))
        if name not in ctx.shared:  # the layout is kept beside it, so that its id cannot come to name another one
            n = postorder.rows_of(at.lengths, self.causal)
            plan = tree_plan(-(-int(n.max()) // ROWS) * ROWS, self.near, self.causal, str(n.device))
            level, index = postorder.node(at.order, None if self.causal else n[at.sample])
            slots = at.sample * plan.length + slot_of(level, index, plan.padded)
            frame = replace(at, longest=plan.length, slots=slots)
            real = frame.grid(torch.ones_like(at.order, dtype=torch.bool))
            unseen = hidden(real)
            ctx.shared[name] = at, (frame, unseen[:1] if at.full else unseen, plan)
        return ctx.shared[name][1]

    def tiled(self, s: dict[str, Tensor], at: Layout, frame: Layout, unseen: Tensor, plan: TreePlan) -> Tensor:
        batch, heads = s["q"].shape[:2]
        q, k, v = (frame.grid(at.rows(s[n].transpose(1, 2))).transpose(1, 2) for n in "qkv")
        k, v = shared_heads(q, k), shared_heads(q, v)
        q, k, v = (x.reshape(batch * heads, plan.length, -1) for x in (q, k, v))
        unseen = unseen if len(unseen) == 1 else unseen.repeat_interleave(heads, 0)
        y, _ = attend_tiles(q[:, : plan.padded], k, v, plan.rows, unseen, self.scale)
        own = unseen[:, : plan.padded].contiguous()
        spans = self.spans(q, k[:, : plan.padded], v[:, : plan.padded], own, plan)
        y = torch.cat([y, *spans], 1).view(batch, heads, plan.length, -1)
        return at.grid(frame.rows(y.transpose(1, 2))).transpose(1, 2)

    def spans(self, q: Tensor, k: Tensor, v: Tensor, unseen: Tensor, plan: TreePlan) -> list[Tensor]:
        """(sequences, slots, dim) of the short spans, and of each level of the long ones."""
        tiles, levels = plan.long.shape
        short = q[:, plan.padded : 2 * plan.padded].unflatten(1, (tiles, ROWS))
        long = q[:, plan.long.flatten()].unflatten(1, (tiles, levels))
        y, lse = attend_tiles(torch.cat([short, long], 2).flatten(1, 2), k, v, plan.spans, unseen, self.scale)
        y, lse = (x.unflatten(1, (tiles, ROWS + levels)) for x in (y, lse))
        found = [y[:, :, :ROWS].flatten(1, 2)]
        for level, (start, stop) in enumerate(pairwise(plan.starts)):
            each, count = 2 << level, stop - start
            fill = (0, count * each - tiles)
            weight = F.pad(lse[:, :, ROWS + level], fill, value=BLIND).unflatten(1, (count, each)).softmax(2)
            part = F.pad(y[:, :, ROWS + level], (0, 0, *fill)).unflatten(1, (count, each))
            found.append((weight[..., None].to(y.dtype) * part).sum(2))
        return found
