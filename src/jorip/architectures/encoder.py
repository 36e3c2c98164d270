"""Encoder only: every position sees every other; its outputs represent the input sequence (survey 2.2.2)."""

from __future__ import annotations

from dataclasses import replace

from jorip.architectures.base import Stack, Stacked
from jorip.architectures.single import SingleStack
from jorip.blocks.base import Block
from jorip.blocks.pre_norm import PreNorm
from jorip.core.cost import Cost, Shape
from jorip.core.mask import Causal, Everything
from jorip.core.site import Site
from jorip.parts.embedding.base import Embedding
from jorip.parts.embedding.tokens import Tokens
from jorip.parts.nodes.base import Nodes
from jorip.parts.norm.base import Norm
from jorip.parts.norm.layer_norm import LayerNorm
from jorip.parts.position.base import Position, PositionModule
from jorip.parts.position.sinusoidal import Sinusoidal
from jorip.parts.readout.base import Readout


class Encoder(Stacked):
    """layer: one block for all layers, a `Cycle`, or a tuple naming each; norm: after the last layer (pre-norm stacks
    need it); readout: what is read on top, None = hidden rows only; nodes: virtual rows beside those of each sequence,
    for mechanisms that read them."""

    embedding: Embedding = Tokens()
    position: Position = Sinusoidal()
    layer: Block = PreNorm()
    norm: Norm | None = LayerNorm()
    readout: Readout | None = None
    nodes: Nodes | None = None

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
    nodes = spec.nodes.build(site.at("nodes")) if spec.nodes else None
    inside = spec.nodes.inside(site) if spec.nodes else site
    layers = Stack([block.build(s) for block, s in spec.layer_sites(inside)])
    norm = spec.norm.build(site.at("norm")) if spec.norm else None
    readout = spec.readout.build(site.at("readout"), embedding, spec.vocab_size) if spec.readout else None
    position = spec.position.build(site.at("position"))
    rule = Causal() if site.causal else Everything()
    return SingleStack(embedding, position, layers, norm, readout, rule, spec.vocab_size, spec.max_len, nodes)


def stack_costs(spec, site: Site, shape: Shape) -> dict[str, Cost]:
    """path -> cost of every part, in the order in which they run."""
    at, width = site.at("embedding"), shape.rows * site.d_model
    inside, rows = site, with_positions(spec, site, shape)
    own = spec.embedding.cost(at, shape, spec.vocab_size)
    pairs, places = shape.length**2, 4 * shape.rows  # int64: two per row
    tables = shape.rows * site.head_dim * rows.rotated + 2 * pairs * (rows.bias == "learned")
    bias = site.n_heads * pairs * (rows.bias != "none")
    costs = {at.path: replace(own, activations=own.activations + tables, stays=width + places, shared=bias)}
    if spec.nodes is not None:
        costs[site.at("nodes").path] = spec.nodes.cost(site, shape)
        inside, rows = spec.nodes.inside(site), spec.nodes.shape(rows, site.causal)
    for block, s in spec.layer_sites(inside):
        for name, cost in block.cost(s, rows).items():
            costs[f"{s.path}.{name}"] = cost
    if spec.norm:
        costs[site.at("norm").path] = spec.norm.cost(site.at("norm"), shape)
    last = next(reversed(costs))  # only its rows are alive when the stack is done
    more = width - sum(c.stays for c in costs.values())
    costs[last] = replace(costs[last], stays=costs[last].stays + more)
    if spec.readout is not None:
        costs[site.at("readout").path] = spec.readout.cost(site.at("readout"), shape, spec.vocab_size)
    return costs


def with_positions(spec, site: Site, shape: Shape) -> Shape:
    """The shape with what the stack's positions do in attention."""
    module = spec.position.build(site.at("position"))
    kind = type(module)
    learned = "learned" if any(True for _ in module.parameters()) else "fixed"
    return shape._replace(
        rotated=kind.rotate is not PositionModule.rotate,
        bias=learned if kind.bias is not PositionModule.bias else "none",
    )
