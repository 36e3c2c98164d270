"""What Star-Transformer and ETC share: a band over the sequence's rows, and hubs of the stack that read everything and
are read by everything."""

from __future__ import annotations

from jorip.core.errors import Refused
from jorip.core.site import Site
from jorip.parts.attention.patterns.band import Band
from jorip.parts.attention.patterns.base import Pattern
from jorip.parts.attention.patterns.global_ import Global
from jorip.parts.attention.sparse.patterned import Patterned


class Hubbed(Patterned, abstract=True):
    """Refused where the stack has no hubs, in a decoder, and where a memory is read."""

    nodes = ("hubs",)

    @property
    def reach(self) -> int:
        """Rows that a row sees on either side."""
        raise TypeError(f"{self.kind} has no band")

    def check(self, site: Site) -> None:
        if site.causal:
            raise Refused(
                f"{site.path}: {self.kind} cannot be causal: its hubs read all rows, so whoever reads them would see "
                "what comes later: use local, or sparse with global rows of the sequence itself"
            )
        if not site.hubs and not site.cross:
            raise Refused(
                f"{site.path}: {self.kind} needs hubs, which are rows that the stack adds: "
                "set nodes={hubs: {count: 1}} on the encoder"
            )
        super().check(site)

    def at(self, site: Site) -> Pattern:
        return Band(left=self.reach, right=self.reach) | Global(first=site.hubs)
