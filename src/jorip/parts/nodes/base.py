"""The protocol of external nodes (survey 4.1.1, "external-node" global attention): rows that are nobody's token.

A stack that has nodes adds them between its embedding and its first layer and strips them after the last one: inside,
mixers, norms and feed-forwards treat them as rows; outside, nobody sees them: outputs, losses, pooling and attention
maps are of the ordinary rows. These keep the positions that they had; nodes are in the way of no position encoding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import ConfigError
from jorip.core.layout import Layout, Rows
from jorip.core.mask import Causal, Everything
from jorip.core.site import Site
from jorip.core.spec import Spec
from jorip.parts.mixer.base import MixerModule


class Nodes(Spec, family=True, package="jorip.parts.nodes"):
    """Family of external nodes, one per stack. Its name is what mixers say that they can read (`Mixer.nodes`)."""

    def check(self, site: Site) -> None:
        """Raises Refused when the stack cannot have them."""

    def build(self, site: Site) -> NodesModule:
        raise TypeError(f"{self.kind} cannot be built")

    def inside(self, site: Site) -> Site:
        """The same site for layers, which must know that there are nodes."""
        return replace(site, nodes=self.kind)

    def rows(self, length: int, causal: bool) -> int:
        """Rows of a sequence of so many, nodes included."""
        raise TypeError(f"{self.kind} adds no rows")

    def shape(self, shape: Shape, causal: bool) -> Shape:
        return shape._replace(length=self.rows(shape.length, causal))

    def cost(self, site: Site, shape: Shape) -> Cost:
        """Of making the nodes: what they hold; the layers count them as rows."""
        more = self.rows(shape.length, site.causal) - shape.length
        return Cost(activations=shape.batch * more * site.d_model)

    @classmethod
    def examples(cls) -> tuple[Nodes, ...]:
        return (cls(),)


class NodesModule(nn.Module):
    """forward: runs the layers over rows and nodes, and returns the ordinary rows after each."""

    def forward(self, layers, x: Rows, ctx: Context, memory: Rows | None = None) -> list[Rows]:
        if not isinstance(ctx.mask, Everything | Causal):
            raise ConfigError(
                f"this call's mask ({type(ctx.mask).__name__}) says which rows may be seen, and nothing about the "
                "stack's nodes: call without it, or set nodes=null"
            )
        at, own = self.layout(x.at)
        inside = ctx if ctx.position is None else replace(ctx, position=Beside(ctx.position, self))
        outs = layers(Rows(self.fill(x, at, own), at), inside, memory)
        for layer in layers:
            for module in layer.modules():
                if isinstance(module, MixerModule) and (w := ctx.captures.get(module.path)) is not None:
                    ctx.captures[module.path] = self.stripped(w, at, x.at, getattr(module, "cross", False))
        return [Rows(out.x.index_select(0, own), x.at) for out in outs]

    def layout(self, at: Layout) -> tuple[Layout, Tensor]:
        """Where rows and nodes are; and (rows,) int64: which of those rows are the ordinary ones."""
        raise TypeError(f"{type(self).__name__} has no layout")

    def fill(self, x: Rows, at: Layout, own: Tensor) -> Tensor:
        """(rows with nodes, width): what enters the first layer."""
        raise TypeError(f"{type(self).__name__} fills no nodes")

    def places(self, order: Tensor) -> Tensor:
        """Of ordinary rows: their order in the sequence -> their place among rows and nodes; any shape, int64."""
        raise TypeError(f"{type(self).__name__} has no places")

    def strangers(self, at) -> Tensor:
        """(batch or 1, longest) bool: the grid slots of a layout with nodes that hold a node."""
        raise TypeError(f"{type(self).__name__} knows no nodes")

    def stripped(self, w: Tensor, at: Layout, plain: Layout, cross: bool) -> Tensor:
        """An attention map (batch, heads, q, k) over rows and nodes -> over the ordinary rows."""
        if not w.numel():
            return w.new_zeros(*w.shape[:2], plain.longest, w.shape[3] if cross else plain.longest)
        order = plain.grid_order
        first = 0 if at.start is None else at.start[:, None]
        q = (self.places(order) - first).clamp(max=w.shape[2] - 1).expand(len(w), -1)
        w = w.gather(2, q[:, None, :, None].expand(-1, w.shape[1], -1, w.shape[3]))
        if cross:
            return w
        k = order.new_ones(int(plain.total.max())).cumsum(0) - 1
        there = (k < plain.total[:, None])[:, None, None]
        return w.index_select(3, self.places(k).clamp(max=w.shape[3] - 1)).masked_fill(~there, 0)


class Beside:
    """A stack's position encoding where there are nodes: biases of scores are between ordinary rows only."""

    def __init__(self, position: Any, nodes: NodesModule):
        self.position, self.nodes = position, nodes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.position, name)

    def bias(self, q_at, k_at, ctx: Context) -> Tensor | None:
        bias = self.position.bias(q_at, k_at, ctx)
        if bias is None:
            return None
        q, k = self.nodes.strangers(q_at), self.nodes.strangers(k_at)
        return bias.masked_fill((q[:, :, None] | k[:, None, :])[:, None], 0)


def extended(at: Layout, lengths: Tensor, start: Tensor | None, own: Tensor) -> Layout:
    """A layout of more rows, whose rows `own` are those of `at` and have their tags and positions; nodes have 0."""
    more = Layout.of(lengths, at.uid, start)
    more = replace(more, positions=torch.zeros_like(more.order).index_copy(0, own, at.positions))
    for name, tag in at.tags.items():
        more.tags[name] = tag.new_zeros(len(more.order), *tag.shape[1:]).index_copy(0, own, tag)
    return more
