"""Axial Transformer (A1.14; Ho et al. 2019, 1912.12180): attention along one axis of a grid whose lines follow each
other (raster order), O(T sqrt(T) D) on a square. Layers for lines and columns in turn connect everything in two:
`Cycle(PreNorm(mixer=... axis="row"), PreNorm(mixer=... axis="column"))`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jorip.core.site import Site
from jorip.parts.attention.patterns.base import Pattern
from jorip.parts.attention.patterns.blocks import Blocks
from jorip.parts.attention.patterns.strided import Strided
from jorip.parts.attention.sparse.patterned import Patterned


class Axial(Patterned):
    """width: of the grid, whose height is free; axis: "row", a row sees its line of the grid, "column", its column, or
    "both" in one softmax."""

    ids = ("A1.14",)
    width: int = Field(default=32, gt=0, le=2**20)
    axis: Literal["row", "column", "both"] = "row"

    def at(self, site: Site) -> Pattern:
        line, column = Blocks(size=self.width), Strided(stride=self.width)
        return {"row": line, "column": column, "both": line | column}[self.axis]

    @classmethod
    def examples(cls):
        return (
            cls(width=3, executor="tiles"),
            cls(width=2, axis="column", executor="tiles"),
            cls(width=3, axis="both", executor="tiles"),
        )
