"""Attention over any sparse pattern, said in full: hubs (A1.1), dilated (A1.3), random (A1.4), blocks (A1.5), and
their unions."""

from __future__ import annotations

from jorip.core.site import Site
from jorip.parts.attention.patterns.band import Band
from jorip.parts.attention.patterns.base import Pattern
from jorip.parts.attention.patterns.blocks import Blocks
from jorip.parts.attention.patterns.global_ import Global
from jorip.parts.attention.patterns.per_head import PerHead
from jorip.parts.attention.patterns.random import Random
from jorip.parts.attention.patterns.strided import Strided
from jorip.parts.attention.sparse.patterned import Patterned


class Sparse(Patterned):
    """pattern: which keys a row sees; `Band(left=2, right=2) | Global(first=1)` unites, `PerHead` gives each group of
    heads its own. In a causal stack what comes later is hidden besides."""

    ids = ("A1.1", "A1.3", "A1.4", "A1.5")
    nodes = ("hubs",)
    pattern: Pattern = Band()

    def at(self, site: Site) -> Pattern:
        return self.pattern

    @classmethod
    def examples(cls):
        hubs = Band(left=1, right=1) | Global(first=1) | Strided(stride=3) | Random(count=1)
        heads = PerHead(of=(Band(left=2, right=0), Blocks(size=3)))
        return (
            cls(pattern=hubs),
            cls(pattern=hubs, executor="tiles"),
            cls(pattern=heads, executor="tiles"),
            cls(pattern=Band(left=2, right=2) | Global(first=1, rows=False), executor="tiles"),
        )
