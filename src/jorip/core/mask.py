"""Masks say what may be seen. They are not biases (numbers added to scores): only this file turns one into a tensor.

Padding needs no mask of its own: rows that do not exist are never seen, whatever the mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mask:
    """Base: everything may be seen. Combine with & and |."""

    causal = False  # True when nothing later than the query is ever seen
    everything = True  # True when only padding is hidden

    def allow(self, q_order: Tensor, k_order: Tensor, q_at, k_at) -> Tensor:
        """Bool, broadcastable to (batch, q, k), from orders (batch or 1, q, 1) and (batch or 1, 1, k)."""
        return torch.ones((), dtype=torch.bool, device=q_order.device)

    def dense(self, q_at, k_at) -> Tensor:
        """(batch, 1, q, k) bool over the two grids; True = may be seen; False towards grid holes."""
        q, k = q_at.grid_order[:, :, None], k_at.grid_order[:, None, :]
        seen = self.allow(q, k, q_at, k_at) & k_at.real[:, None, :]
        return seen.expand(q_at.batch, q_at.longest, k_at.longest)[:, None]

    def added(self, dtype: torch.dtype) -> Tensor | None:
        """The same as numbers to add to scores, 0 or -inf, (batch or 1, heads or 1, q, k), where they are there
        already; None: `dense` has to be asked."""
        return None

    def __and__(self, other: Mask) -> Mask:
        if self.everything:
            return other
        return self if other.everything else _Both(self, other)

    def __or__(self, other: Mask) -> Mask:
        return self if self.everything else other if other.everything else _Either(self, other)


@dataclass(frozen=True)
class Everything(Mask):
    """No restriction besides padding."""


@dataclass(frozen=True)
class Causal(Mask):
    """A row sees itself and what came before (survey 2.1.1, masked self-attention)."""

    causal = True
    everything = False

    def allow(self, q_order, k_order, q_at, k_at):
        return k_order <= q_order


@dataclass(frozen=True)
class Band(Mask):
    """A row sees `left` rows before and `right` rows after itself."""

    left: int
    right: int
    everything = False

    def allow(self, q_order, k_order, q_at, k_at):
        return (k_order >= q_order - self.left) & (k_order <= q_order + self.right)


@dataclass(frozen=True)
class Same(Mask):
    """A row sees rows of the same tag (document, bucket, cluster): `at.tags[name]`, (rows,) int."""

    tag: str
    everything = False

    def allow(self, q_order, k_order, q_at, k_at):
        q, k = (at.grid(at.tags[self.tag]) for at in (q_at, k_at))
        return q[:, :, None] == k[:, None, :]


@dataclass(frozen=True, eq=False)
class Prefix(Mask):
    """All rows see the first `lengths` (batch,) rows of their sequence; beyond them a row sees itself and what came
    before: the mask of a prefix language model (T5, 1910.10683, figure 4)."""

    lengths: Tensor
    everything = False

    def allow(self, q_order, k_order, q_at, k_at):
        return (k_order <= q_order) | (k_order < self.lengths[:, None, None])


@dataclass(frozen=True)
class _Both(Mask):
    a: Mask
    b: Mask
    everything = False

    @property
    def causal(self):
        return self.a.causal or self.b.causal

    def allow(self, *args):
        return self.a.allow(*args) & self.b.allow(*args)


@dataclass(frozen=True)
class _Either(Mask):
    a: Mask
    b: Mask
    everything = False

    @property
    def causal(self):
        return self.a.causal and self.b.causal

    def allow(self, *args):
        return self.a.allow(*args) | self.b.allow(*args)
