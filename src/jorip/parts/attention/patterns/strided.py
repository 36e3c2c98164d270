"""Strided and fixed-position attention (A1.3, A1.10; Child et al. 2019, 1904.10509), columns of a grid (A1.14).

Strided: k = q (mod stride), an unlimited window with large gaps. Fixed: the last `count` places of every stretch of
`stride` rows are read by everybody.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from jorip.parts.attention.patterns.base import Order, Pairs, Pattern, Stretch, Tile


class Strided(Pattern):
    """stride: distance between the rows that see each other, everywhere in the sequence."""

    ids = ("A1.3",)
    stride: int = Field(default=128, gt=0, le=2**28)

    @property
    def order(self) -> Order:
        return Order(self.stride)

    def allow(self, p: Pairs):
        return (p.k - p.q) % self.stride == 0

    def reach(self, t: Tile):
        return [Stretch(t.start, t.stop)]

    def exact(self, rows: int) -> bool:
        return True

    @classmethod
    def examples(cls):
        return (cls(stride=2), cls(stride=3))


class Fixed(Pattern):
    """Every row reads the last `count` rows of each stretch of `stride`, in the whole sequence."""

    ids = ("A1.10",)
    stride: int = Field(default=128, gt=0, le=2**28)
    count: int = Field(default=8, gt=0, le=2**28)

    @model_validator(mode="after")
    def _inside(self):
        if self.count > self.stride:
            raise ValueError(f"count must be at most stride, found {self.count} and {self.stride}")
        return self

    def hubs(self, place, n, marks):
        return place % self.stride >= self.stride - self.count

    def allow(self, p: Pairs):
        return self.hubs(p.k, p.n, p.k_marks)

    @classmethod
    def examples(cls):
        return (cls(stride=3, count=1), cls(stride=4, count=2))
