"""Span nodes (A1.12; BP-Transformer, Ye et al. 2019, 1911.04070): a binary tree over the rows of every sequence."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from jorip.core.layout import Layout, Rows
from jorip.core.site import Site
from jorip.ops import postorder
from jorip.parts.nodes.base import Nodes, NodesModule, extended


class SpanNodes(Nodes, name="spans"):
    """A node for every two rows, every four, and so on up to all of them: about as many nodes as rows. They enter the
    first layer as zeros, as in the paper, and are what their rows make of them. Position encodings that rotate turn a
    span as the row in its middle, biases of scores are not for spans.

    In a causal stack only spans that are complete exist, each from its last row on, so decoding goes on from where it
    stopped.
    """

    def rows(self, length: int, causal: bool) -> int:
        return int(postorder.size(torch.tensor(length), causal))

    def build(self, site: Site) -> SpanRows:
        return SpanRows(site.causal)


class SpanRows(NodesModule):
    def __init__(self, causal: bool):
        super().__init__()
        self.causal = causal

    def layout(self, at: Layout) -> tuple[Layout, Tensor]:
        start = torch.zeros_like(at.lengths) if at.start is None else at.start
        before = postorder.place_of(start)
        lengths = postorder.size(at.total, self.causal) - before
        first = lengths.cumsum(0) - lengths - before
        own = first[at.sample] + postorder.place_of(at.order)
        more = extended(at, lengths, None if at.start is None else before, own)
        n = at.total[more.sample]
        level, index = postorder.node(more.order, None if self.causal else n)
        end = ((index + 1) << level).minimum(n)  # of rows that it holds; its last one is in this call
        last = (at.lengths.cumsum(0) - at.lengths - start)[more.sample] + end - 1
        positions = at.positions[last] - (end - (index << level)) // 2
        return replace(more, positions=positions.where(level > 0, at.positions[last])), own

    def fill(self, x: Rows, at: Layout, own: Tensor) -> Tensor:
        return x.x.new_zeros(len(at.order), x.x.shape[1]).index_copy(0, own, x.x)

    def places(self, order: Tensor) -> Tensor:
        return postorder.place_of(order)

    def strangers(self, at) -> Tensor:
        n = None if self.causal else postorder.rows_of(at.total)[:, None]
        return postorder.node(at.grid_order, n)[0] > 0
