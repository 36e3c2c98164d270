"""Band and dilated band (A1.2, A1.3; survey 4.1.1): a query sees its neighbourhood, with gaps or without.

Dilated rows see `left` rows before and `right` after themselves in steps of `gap`: a band in each residue class.
"""

from __future__ import annotations

from pydantic import Field

from jorip.parts.attention.patterns.base import Order, Pairs, Pattern, Stretch, Tile

_FAR = 2**28


class Band(Pattern):
    """left, right: rows before and after itself that a row sees."""

    ids = ("A1.2",)
    left: int = Field(default=128, ge=0, le=_FAR)
    right: int = Field(default=128, ge=0, le=_FAR)

    @property
    def memory(self):
        return 0, self.left + 1

    def allow(self, p: Pairs):
        return (p.k >= p.q - self.left) & (p.k <= p.q + self.right)

    def reach(self, t: Tile):
        return [Stretch(t.first - self.left, t.last + self.right + 1)]

    @classmethod
    def examples(cls):
        return (cls(left=2, right=1), cls(left=0, right=3), cls(left=3, right=0))


class Dilated(Pattern):
    """gap: distance between seen rows; left, right: how many of them before and after itself."""

    ids = ("A1.3",)
    left: int = Field(default=64, ge=0, le=_FAR)
    right: int = Field(default=64, ge=0, le=_FAR)
    gap: int = Field(default=2, gt=0, le=_FAR)

    @property
    def order(self) -> Order:
        return Order(self.gap)

    @property
    def memory(self):
        return 0, self.left * self.gap + 1

    def allow(self, p: Pairs):
        far = p.k - p.q
        return (far % self.gap == 0) & (far >= -self.left * self.gap) & (far <= self.right * self.gap)

    def reach(self, t: Tile):
        return [Stretch((t.first - self.left).maximum(t.start), (t.last + self.right + 1).minimum(t.stop))]

    @classmethod
    def examples(cls):
        return (cls(left=2, right=1, gap=2), cls(left=1, right=1, gap=3))
