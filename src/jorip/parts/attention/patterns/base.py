"""The protocol of sparse patterns: which keys a query sees, by where both are (survey 4.1.1, Eq 7).

A pattern is data. `allow` is its definition, pair by pair; the rest is how it is run without looking at all pairs: in
which order of the rows it is dense near the diagonal (`order`), and which stretches of keys a stretch of queries
reaches there (`reach`, which may name more than is allowed: `allow` has the last word, unless it is `exact`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jorip.core.site import Site
from jorip.core.spec import Spec


@dataclass(frozen=True)
class Pairs:
    """Queries and keys whose pairs are asked about: all tensors broadcast to (batch, heads, queries, keys).

    q, k int64: places in their sequences; n int64: lengths of the sequences; head int64: which head; causal: whether
    nothing later may be drawn; seed: of random patterns; q_marks, k_marks: bool by tag.
    """

    q: Tensor
    k: Tensor
    n: Tensor
    head: Tensor
    causal: bool = False
    seed: int = 0
    q_marks: dict[str, Tensor] = field(default_factory=dict)
    k_marks: dict[str, Tensor] = field(default_factory=dict)


class Stretch(NamedTuple):
    """Keys from start up to, without, stop: int64, broadcastable to (batch, heads, tiles)."""

    start: Tensor
    stop: Tensor


class Order(NamedTuple):
    """How rows are laid out for a pattern: residue classes of `gap` one after the other (1 = as they are)."""

    gap: int = 1

    def each(self, length: int, rows: int) -> int:
        """Slots of one class: its rows, filled up to a multiple of `rows`."""
        return -(-length // (self.gap * rows)) * rows

    def places(self, length: int, rows: int, device=None) -> Tensor:
        """(slots,) int64: the row in each slot; beyond the length where there is none."""
        place = torch.arange(self.each(length, rows), device=device) * self.gap
        return (place + torch.arange(self.gap, device=device)[:, None]).flatten()

    def lay(self, x: Tensor, rows: int) -> Tensor:
        """(batch, heads, length, dim) -> (batch, heads, slots, dim)."""
        each, length = self.each(x.shape[2], rows), x.shape[2]
        x = x if each * self.gap == length else F.pad(x, (0, 0, 0, each * self.gap - length))
        return x if self.gap == 1 else x.unflatten(2, (each, self.gap)).transpose(2, 3).flatten(2, 3)

    def back(self, y: Tensor, length: int) -> Tensor:
        """(sequences, slots, ...) -> (sequences, length, ...)."""
        y = y if self.gap == 1 else y.unflatten(1, (self.gap, -1)).transpose(1, 2).flatten(1, 2)
        return y[:, :length]


class Tile(NamedTuple):
    """Stretches of queries whose reach is asked: first and last slot (tiles,) int64; n (batch, 1, 1) int64 lengths;
    start and stop (tiles,): the slots of their residue class; head (heads, 1) int64; causal and seed as in `Pairs`."""

    first: Tensor
    last: Tensor
    n: Tensor
    start: Tensor
    stop: Tensor
    head: Tensor
    causal: bool = False
    seed: int = 0


class Pattern(Spec, family=True, package="jorip.parts.attention.patterns"):
    """Family of sparse patterns."""

    def __hash__(self) -> int:
        return hash((self.kind, *(getattr(self, name) for name in type(self).model_fields)))

    def __or__(self, other: Pattern) -> Pattern:
        from jorip.parts.attention.patterns.union import Union

        return Union(of=(*self.members_of_union, *other.members_of_union))

    @property
    def members_of_union(self) -> tuple[Pattern, ...]:
        return (self,)

    @property
    def groups(self) -> tuple[Pattern, ...]:
        """One pattern for each group of neighbouring heads."""
        return (self,)

    @property
    def order(self) -> Order:
        return Order()

    @property
    def grain(self) -> int | None:
        """Rows that belong together, which tiles should not cut; None = any."""
        return None

    @property
    def memory(self) -> tuple[int, int] | None:
        """How many of the first and of the last rows decoding must hold; None = all."""
        return None

    @property
    def uses_length(self) -> bool:
        """Whether what is seen depends on where the sequence ends, which no causal model knows."""
        return False

    def check(self, site: Site) -> None:
        """Raises Refused when the pattern does not fit the site."""

    def allow(self, p: Pairs) -> Tensor:
        """Bool, broadcastable to (batch, heads, queries, keys)."""
        raise TypeError(f"{self.kind} has no definition")

    def reach(self, t: Tile) -> list[Stretch]:
        """In slots of its order; without the hubs."""
        return []

    def hubs(self, place: Tensor, n: Tensor, marks: dict[str, Tensor]) -> Tensor | None:
        """Bool: which rows everybody reads; None = there are none. place, n and marks broadcast together."""
        return None

    def scatter(self, t: Tile) -> Tensor | None:
        """(batch, heads, queries, count) int64: keys of single queries `t.first` which no stretch holds."""
        return None

    @property
    def edges(self) -> int:
        """Keys of each query that `scatter` gives."""
        return 0

    @property
    def hubs_read_all(self) -> bool:
        """Whether hubs also see everything, besides being seen."""
        return False

    def exact(self, rows: int) -> bool:
        """Whether all of what tiles of so many rows reach, in blocks of as many, is allowed."""
        return False

    @classmethod
    def examples(cls) -> tuple[Pattern, ...]:
        return (cls(),)
