"""The union of patterns: a pair is seen when any of them allows it."""

from __future__ import annotations

from pydantic import field_validator

from jorip.core.site import Site
from jorip.parts.attention.patterns.base import Pairs, Pattern


class Union(Pattern):
    """of: the patterns; nested unions are flattened. Written `Band(left=2, right=2) | Global(first=1)`."""

    of: tuple[Pattern, ...]

    @field_validator("of", mode="before")
    @classmethod
    def _flat(cls, value):
        parts = [Pattern.parse(v) for v in value]
        if not parts or any(len(p.groups) > 1 for p in parts):
            raise ValueError("a union names at least one pattern, and none per head: write the unions inside per_head")
        return tuple(m for p in parts for m in p.members_of_union)

    @property
    def members_of_union(self):
        return self.of

    @property
    def memory(self):
        kept = [p.memory for p in self.of]
        if any(m is None for m in kept):
            return None
        return max(m[0] for m in kept if m), max(m[1] for m in kept if m)

    @property
    def uses_length(self):
        return any(p.uses_length for p in self.of)

    def check(self, site: Site) -> None:
        for p in self.of:
            p.check(site)

    def allow(self, p: Pairs):
        seen = self.of[0].allow(p)
        for part in self.of[1:]:
            seen = seen | part.allow(p)
        return seen

    @classmethod
    def examples(cls):
        from jorip.parts.attention.patterns.band import Band
        from jorip.parts.attention.patterns.global_ import Global

        return (Band(left=1, right=1) | Global(first=1),)
