"""Image Transformer (A1.13; Parmar et al. 2018, 1802.05751, section 3.3): a block of pixels reads itself and a memory
around it, O(T m D) for a memory of m rows.

1-D: blocks of the raster order read the rows before them. 2-D: rectangles read the lines above and the columns beside.
The paper generates 2-D blocks one after the other; here rows follow each other line by line (raster order), and causal
means earlier in that order.
"""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from jorip.core.site import Site
from jorip.parts.attention.patterns.base import Pattern
from jorip.parts.attention.patterns.grid import Rectangles, Segments
from jorip.parts.attention.sparse.patterned import Patterned


class ImageTransformer(Patterned):
    """block: rows of a query block, or with `width`, the image's, its lines and columns; memory: rows before it, or
    lines above and columns beside it, that it reads besides. Where nothing is causal, also as many after and below."""

    ids = ("A1.13",)
    width: int | None = Field(default=None, gt=0, le=2**20)
    block: int | tuple[int, int] = 256
    memory: int | tuple[int, int] = 256

    @field_validator("block", "memory", mode="before")
    @classmethod
    def _pair(cls, value):
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _dimensions(self):
        for name, least in (("block", 1), ("memory", 0)):
            value = getattr(self, name)
            if isinstance(value, tuple) != (self.width is not None):
                form = "a number of rows" if self.width is None else "(lines, columns), because width is set"
                raise ValueError(f"{name} is {form}, found {value!r}")
            if any(v < least for v in (value if isinstance(value, tuple) else (value,))):
                raise ValueError(f"{name} must be at least {least}, found {value!r}")
        return self

    def at(self, site: Site) -> Pattern:
        if isinstance(self.block, tuple) and isinstance(self.memory, tuple) and self.width is not None:
            (down, across), (above, aside) = self.block, self.memory
            below = 0 if site.causal else above
            return Rectangles(width=self.width, down=down, across=across, above=above, below=below, aside=aside)
        assert isinstance(self.block, int) and isinstance(self.memory, int)
        return Segments(size=self.block, before=self.memory, after=0 if site.causal else self.memory)

    @classmethod
    def examples(cls):
        return (
            cls(block=3, memory=2, executor="tiles"),
            cls(width=4, block=(1, 2), memory=(1, 1), executor="tiles"),
            cls(width=3, block=(2, 2), memory=(1, 0)),
        )
