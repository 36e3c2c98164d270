"""Block local attention (A1.5; survey 4.1.1) and patterns in blocks instead of rows."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field, model_validator

from jorip.core.site import Site
from jorip.parts.attention.patterns.base import Order, Pairs, Pattern, Stretch, Tile


class Blocks(Pattern):
    """size: rows of a block, which see each other; before, after: how many neighbouring blocks they see besides, the
    memory block of the Image Transformer (1802.05751)."""

    ids = ("A1.5",)
    size: int = Field(default=64, gt=0, le=2**28)
    before: int = Field(default=0, ge=0, le=2**20)
    after: int = Field(default=0, ge=0, le=2**20)

    @property
    def grain(self):
        return self.size

    @property
    def memory(self):
        return 0, self.size * (self.before + 1)

    def allow(self, p: Pairs):
        far = p.k // self.size - p.q // self.size
        return (far >= -self.before) & (far <= self.after)

    def reach(self, t: Tile):
        first, last = t.first // self.size - self.before, t.last // self.size + self.after
        return [Stretch(first * self.size, (last + 1) * self.size)]

    def exact(self, rows: int) -> bool:
        return rows == self.size

    @classmethod
    def examples(cls):
        return (cls(size=2, before=1), cls(size=3, before=1, after=1))


class Blocked(Pattern):
    """pattern: said of blocks of `size` rows instead of rows: `Blocked(size=64, pattern=Band(left=1, right=1))`."""

    size: int = Field(default=64, gt=0, le=2**28)
    pattern: Pattern

    @model_validator(mode="after")
    def _in_rows(self):
        for p in self.pattern.members_of_union:
            if p.order != Order() or getattr(p, "tag", None):
                raise ValueError(f"{p.kind} is said of rows, not of blocks: unite it with `blocked` instead")
        return self

    @property
    def members_of_union(self):
        inner = self.pattern.members_of_union
        return (self,) if len(inner) == 1 else tuple(Blocked(size=self.size, pattern=p) for p in inner)

    @property
    def grain(self):
        return self.size

    @property
    def memory(self):
        inner = self.pattern.memory
        return None if inner is None else (inner[0] * self.size, inner[1] * self.size)

    @property
    def uses_length(self):
        return self.pattern.uses_length

    def check(self, site: Site) -> None:
        self.pattern.check(site)

    def allow(self, p: Pairs):
        return self.pattern.allow(replace(p, q=p.q // self.size, k=p.k // self.size, n=-(-p.n // self.size)))

    @property
    def hubs_read_all(self):
        return self.pattern.hubs_read_all

    def hubs(self, place, n, marks):
        return self.pattern.hubs(place // self.size, -(-n // self.size), marks)

    def reach(self, t: Tile):
        """Every block in the tile asks for itself."""
        s = self.size
        found: list[Stretch] = []
        for i in range(int((t.last // s - t.first // s).max()) + 1 if len(t.first) else 0):
            b = (t.first // s + i).minimum(t.last // s)
            inner = t._replace(first=b, last=b, n=-(-t.n // s), start=t.start // s, stop=-(-t.stop // s))
            drawn = self.pattern.scatter(inner)
            ones = [] if drawn is None else [Stretch(d, d + 1) for d in drawn.unbind(-1)]
            found += [Stretch(a * s, z * s) for a, z in (*self.pattern.reach(inner), *ones)]
        return found

    def exact(self, rows: int) -> bool:
        return rows == self.size

    @classmethod
    def examples(cls):
        from jorip.parts.attention.patterns.band import Band

        return (cls(size=2, pattern=Band(left=1, right=1)),)
