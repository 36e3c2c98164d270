"""The graph of BP-Transformer (A1.12; Ye et al. 2019, 1911.04070, section 3; survey 4.1.1): spans of a binary tree.

A row reads the `near` rows on either side, then `near` spans of two rows, then `near` of four, and so on: on the right
those from p_l on, p_0 = i + 1 and p_(l+1) = floor((p_l + near) / 2), on the left likewise. So it sees the whole
sequence through near * log(T / near) nodes, the coarser the farther. A span reads the rows that it holds.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from jorip.core.errors import Refused
from jorip.core.site import Site
from jorip.ops import postorder
from jorip.parts.attention.patterns.base import Pairs, Pattern, Stretch, Tile


class Tree(Pattern):
    """near: nodes of each level that a row reads on either side (the paper's k). The stack has `nodes=spans`: places
    are those of rows and spans in line (`ops/postorder`). A row reads itself too."""

    ids = ("A1.12",)
    near: int = Field(default=16, gt=0, le=2**28)

    @property
    def uses_length(self):
        return True

    def check(self, site: Site) -> None:
        if site.nodes != "spans":
            raise Refused(
                f"{site.path}: {self.kind} reads spans, which are rows that the stack adds: set nodes=spans on it"
            )

    def allow(self, p: Pairs) -> Tensor:
        n = None if p.causal else postorder.rows_of(p.n)
        level_q, q = postorder.node(p.q, n)
        level_k, k = postorder.node(p.k, n)
        held = (level_k == 0) & (k >> level_q == q)
        seen = (level_k == 0) & ((k - q).abs() <= self.near)
        for level, left, right in chain(q, self.near, int(level_k.max()) if level_k.numel() else 0):
            before = (k <= left) & (k > left - self.near)
            after = (k >= right) & (k < right + self.near)
            seen = seen | ((level_k == level) & (before | after))
        return torch.where(level_q > 0, held, seen)

    def reach(self, t: Tile):
        """Everything: `sparse/bp_transformer` has a program of its own."""
        return [Stretch(t.start, t.stop)]

    @classmethod
    def examples(cls):
        return (cls(near=1), cls(near=2))


def chain(rows: Tensor, near: int, levels: int):
    """For each level from 1 on: the last span on the left and the first on the right that these rows read."""
    left, right = rows - 1, rows + 1
    for level in range(1, levels + 1):
        left, right = (left - near) >> 1, (right + near) >> 1
        yield level, left, right
