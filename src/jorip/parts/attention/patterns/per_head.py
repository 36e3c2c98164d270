"""Another pattern for each head, as the Sparse Transformer's factorized heads have (1904.10509, section 4.2)."""

from __future__ import annotations

from pydantic import field_validator

from jorip.core.errors import Refused
from jorip.core.site import Site
from jorip.parts.attention.patterns.base import Pattern


class PerHead(Pattern):
    """of: one pattern for each group of neighbouring heads; their number divides n_heads."""

    of: tuple[Pattern, ...]

    @field_validator("of", mode="before")
    @classmethod
    def _parsed(cls, value):
        parts = tuple(Pattern.parse(v) for v in value)
        if not parts or any(isinstance(p, PerHead) for p in parts):
            raise ValueError("per_head names at least one pattern, and none of them is per_head itself")
        return parts

    @property
    def groups(self):
        return self.of

    @property
    def memory(self):
        kept = [p.memory for p in self.of]
        return None if any(m is None for m in kept) else tuple(max(m[i] for m in kept if m) for i in (0, 1))

    @property
    def uses_length(self):
        return any(p.uses_length for p in self.of)

    def check(self, site: Site) -> None:
        if site.n_heads % len(self.of):
            raise Refused(
                f"{site.path}: {len(self.of)} patterns are shared out among {site.n_heads} heads: "
                "n_heads must be a multiple of their number"
            )
        for p in self.of:
            p.check(site)

    @classmethod
    def examples(cls):
        from jorip.parts.attention.patterns.band import Band
        from jorip.parts.attention.patterns.strided import Strided

        return (cls(of=(Band(left=1, right=1), Strided(stride=2))),)
