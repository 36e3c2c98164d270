"""Encoder only: every position sees every other; its outputs represent the input sequence (survey 2.2.2)."""

from __future__ import annotations

from jorip.architectures.base import Stack, Stacked
from jorip.architectures.single import SingleStack
from jorip.blocks.base import Block
from jorip.blocks.pre_norm import PreNorm
from jorip.core.cost import Cost, Shape
from jorip.core.mask import Causal, Everything
from jorip.core.site import Site
from jorip.parts.embedding.base import Embedding
from jorip.parts.embedding.tokens import Tokens
from jorip.parts.norm.base import Norm
from jorip.parts.norm.layer_norm import LayerNorm
from jorip.parts.position.base import Position
from jorip.parts.position.sinusoidal import Sinusoidal
from jorip.parts.readout.base import Readout


class Encoder(Stacked):
    """layer: one block for all layers, a `Cycle`, or a tuple naming each; norm: after the last layer (pre-norm stacks
    need it); readout: what is read on top, None = hidden rows only."""

    embedding: Embedding = Tokens()
    position: Position = Sinusoidal()
    layer: Block = PreNorm()
    norm: Norm | None = LayerNorm()
    readout: Readout | None = None

    def site(self, path: str = "", d_memory: int | None = None) -> Site:
        return self.heads_site(path, causal=False, d_memory=d_memory)

    def assemble(self, site: Site) -> SingleStack:
        return assemble_stack(self, site)

    def costs(self, shape: Shape) -> dict[str, Cost]:
        return stack_costs(self, self.site(), shape)


def assemble_stack(spec, site: Site) -> SingleStack:
    """The module of an Encoder or Decoder spec, at a site that says whether it is causal and reads a memory."""
    spec.position.check(site.at("position"))
    embedding = spec.embedding.build(site.at("embedding"), spec.vocab_size)
    layers = Stack([block.build(s) for block, s in spec.layer_sites(site)])
    norm = spec.norm.build(site.at("norm")) if spec.norm else None
    readout = spec.readout.build(site.at("readout"), embedding, spec.vocab_size) if spec.readout else None
    position = spec.position.build(site.at("position"))
    rule = Causal() if site.causal else Everything()
    return SingleStack(embedding, position, layers, norm, readout, rule, spec.vocab_size, spec.max_len)


def stack_costs(spec, site: Site, shape: Shape) -> dict[str, Cost]:
    """path -> cost of every sub-layer and the readout."""
    costs = {site.at("embedding").path: Cost(activations=shape.rows * site.d_model)}
    for block, s in spec.layer_sites(site):
        for name, cost in block.cost(s, shape).items():
            costs[f"{s.path}.{name}"] = cost
    if spec.readout is not None:
        costs[site.at("readout").path] = spec.readout.cost(site.at("readout"), shape, spec.vocab_size)
    return costs
