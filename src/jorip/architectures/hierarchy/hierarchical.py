"""Hierarchical encoder: each window of a long text is read alone, then a second stack reads one row per window.

    u_w = pool(Encoder(window w)),   H = Upper(u_1 .. u_W),   the readout decides from H

Pappagari et al. 2019 (1910.10781); HIBERT (R5.2 of the survey: Zhang et al. 2019, 1905.06566) reads documents so,
sentence by sentence. T tokens in windows of w cost T w instead of T^2.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from jorip.architectures.base import Stack
from jorip.architectures.encoder import Encoder, assemble_stack
from jorip.architectures.single import SingleStack
from jorip.blocks.base import Block
from jorip.blocks.pre_norm import PreNorm
from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.layout import Layout, Rows
from jorip.core.site import Site
from jorip.parts.position.base import Position, PositionModule
from jorip.parts.position.sinusoidal import Sinusoidal
from jorip.parts.readout.pooling import Pool, pool_rows


class Hierarchical(Encoder):
    """An encoder's fields, of what reads a window; window_pool: how its rows become one; upper, n_upper: the blocks
    over the windows, as wide as the encoder; upper_position: the order of windows.

    Without `documents` (see the call) every sequence is one window of its own text."""

    window_pool: Pool = "mean"
    upper: Block = PreNorm()
    n_upper: int = Field(default=1, ge=1, le=256)
    upper_position: Position = Sinusoidal()

    def assemble(self, site: Site) -> HierarchicalModel:
        lower = assemble_stack(self, site)
        sites = [site.at(f"upper.{i}", index=i, n_layers=self.n_upper) for i in range(self.n_upper)]
        stack = Stack([self.upper.of(i).build(s) for i, s in enumerate(sites)])
        norm = self.norm.build(site.at("upper_norm")) if self.norm else None
        position = self.upper_position.build(site.at("upper_position"))
        return HierarchicalModel(lower, stack, position, norm, self.window_pool)

    def costs(self, shape: Shape) -> dict[str, Cost]:
        """shape: windows and their length; the upper stack as if all windows were one text."""
        site, costs = self.site(), super().costs(shape)
        for i in range(self.n_upper):
            for name, cost in self.upper.of(i).cost(site.at(f"upper.{i}"), Shape(1, shape.batch)).items():
                costs[f"upper.{i}.{name}"] = cost
        return costs

    def n_sublayers(self) -> int:
        return 2 * (self.n_layers + self.n_upper)


class HierarchicalModel(SingleStack):
    def __init__(self, lower: SingleStack, upper: Stack, position: PositionModule, norm: nn.Module | None, pool: Pool):
        super().__init__(
            lower.embedding, lower.position, lower.layers, lower.norm, lower.readout, lower.mask_rule,
            lower.vocab_size, lower.max_len, lower.nodes,
        )  # fmt: skip
        self.upper, self.upper_position, self.upper_norm = upper, position, norm
        self.window_pool: Pool = pool

    def finish(self, h: Rows, documents: Tensor | None, ctx: Context) -> Rows:
        """One row per window, read by the upper stack."""
        groups = h.at.lengths.new_ones(h.at.batch) if documents is None else documents
        whole = h.at.joined(groups)  # refuses groups that do not add up
        at = Layout.of(groups, whole.uid)
        over = Context(mask=ctx.mask, key=ctx.key, position=self.upper_position, captures=ctx.captures, notes=ctx.notes)
        x = Rows(self.upper_position.embed(pool_rows(h, self.window_pool), at), at)
        x = self.upper(x, over)[-1]
        return x if self.upper_norm is None else Rows(self.upper_norm(x.x), x.at)
