"""The protocol of blocks, and what pre-norm and post-norm share: which sub-layers there are."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field
from torch import nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import Refused
from jorip.core.layout import Rows
from jorip.core.site import Site
from jorip.core.spec import Spec
from jorip.ops.dropout import Dropout
from jorip.parts.feedforward.base import FeedForward
from jorip.parts.feedforward.dense import Dense
from jorip.parts.mixer.base import Carry, Mixer
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.norm.base import Norm
from jorip.parts.norm.layer_norm import LayerNorm


class Block(Spec, family=True, package="jorip.blocks"):
    """Family of layers. `of(i)` is the spec of layer i: itself, unless it repeats several."""

    def of(self, index: int) -> Block:
        return self

    def build(self, site: Site) -> BlockModule:
        raise TypeError(f"{self.kind} cannot be built")

    def cost(self, site: Site, shape: Shape) -> dict[str, Cost]:
        """By sub-layer name."""
        raise TypeError(f"{self.kind} has no cost")

    @classmethod
    def examples(cls) -> tuple[Block, ...]:
        return (cls(),)


class BlockModule(nn.Module):
    """forward: Rows and the previous layer's carry -> Rows and the carry for the next."""

    def forward(self, x: Rows, carry: Carry, ctx: Context, memory: Rows | None = None) -> tuple[Rows, Carry]:
        raise TypeError(f"{type(self).__name__} has no forward")


class Standard(Block, abstract=True):
    """The sub-layers of a vanilla block: mixer, cross (only where a memory exists: decoders beside an encoder),
    feed_forward, each with a residual, a norm and dropout. Pre-norm and post-norm differ in the order only."""

    normed: ClassVar[int] = 0  # 1 where the norm comes before the sub-layer, which then reads rows of its own
    mixer: Mixer = MultiHead()
    cross: Mixer = MultiHead()
    feed_forward: FeedForward = Dense()
    norm: Norm = LayerNorm()
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def sublayers(self, site: Site) -> dict[str, nn.Module]:
        """The built sub-layers, in order."""
        own = site.at("mixer", cross=False, d_memory=None)
        if own.nodes is not None and own.nodes not in self.mixer.nodes:
            inner = getattr(self.mixer, "mechanism", self.mixer).kind
            raise Refused(
                f"{own.path}: {inner} cannot read external nodes ({own.nodes}): it would take them for rows of the "
                "sequence: set nodes=null, or use full attention"
            )
        self.mixer.check(own)
        built: dict[str, nn.Module] = {"mixer": self.mixer.build(own)}
        if site.d_memory is not None:
            across = site.at("cross", cross=True, causal=False)
            self.cross.check(across)
            built["cross"] = self.cross.build(across)
        return built | {"feed_forward": self.feed_forward.build(site.at("feed_forward"))}

    def cost(self, site: Site, shape: Shape) -> dict[str, Cost]:
        """Norms first. Sub-layers with what the block holds beside them: the rows that the norm made (if
        it comes first), and from the second on the sum so far and what the one before gave; the last leaves its sum to
        the stack."""
        costs = {"mixer": self.mixer.cost(site.at("mixer", cross=False, d_memory=None), shape)}
        if site.d_memory is not None:
            costs["cross"] = self.cross.cost(site.at("cross", cross=True, causal=False), shape)
        costs["feed_forward"] = self.feed_forward.cost(site.at("feed_forward"), shape)
        rows, norms = shape.rows * site.d_model, Cost()
        for i, (name, cost) in enumerate(costs.items()):
            norms += self.norm.cost(site, shape)
            costs[name] = replace(
                cost,
                activations=cost.activations + (rows if self.dropout else 0),
                work=cost.working + (self.normed + 2 * (i > 0)) * rows,
                stays=rows if name == "feed_forward" else 0,
            )
        return {"norms": norms} | costs


class StandardBlock(BlockModule):
    """Holds sub-layers with their norms and dropouts; subclasses say in which order they apply."""

    def __init__(self, sublayers: dict[str, nn.Module], norms: dict[str, nn.Module], drops: dict[str, Dropout]):
        super().__init__()
        for name, module in sublayers.items():
            self.add_module(name, module)
        self.norms, self.drops = nn.ModuleDict(norms), nn.ModuleDict(drops)
        self.crosses = "cross" in sublayers

    @classmethod
    def from_spec(cls, spec: Standard, site: Site) -> StandardBlock:
        subs = spec.sublayers(site)
        norms = {n: spec.norm.build(site.at(f"norms.{n}")) for n in subs}
        return cls(subs, norms, {n: Dropout(spec.dropout, f"{site.path}.drops.{n}") for n in subs})

    def sublayer(self, name: str, x: Rows, carry: Carry, ctx: Context, memory: Rows | None) -> tuple[Rows, Carry]:
        """One sub-layer with its dropout, without residual or norm."""
        if name == "feed_forward":
            y = getattr(self, name)(x, ctx)
        else:
            y, carry = getattr(self, name)(x, carry, ctx, memory)
        return Rows(self.drops[name](y, x.at, ctx), x.at), carry
