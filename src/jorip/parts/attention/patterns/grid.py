"""Blocks with a memory around them, on a line and on a grid (A1.13; Image Transformer, Parmar et al. 2018, 1802.05751,
section 3.3). The rows of an image are laid out line by line (raster order)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from jorip.parts.attention.patterns.base import Pairs, Pattern, Stretch, Tile


class Segments(Pattern):
    """size: rows of a block, which see each other; before, after: rows on either side of the block that all of them see
    besides. Memory blocks that are as long as blocks are `Blocks(before=1)` too."""

    size: int = Field(default=256, gt=0, le=2**28)
    before: int = Field(default=256, ge=0, le=2**28)
    after: int = Field(default=0, ge=0, le=2**28)

    @property
    def grain(self):
        return self.size

    @property
    def memory(self):
        return 0, self.size + self.before

    def allow(self, p: Pairs):
        first = p.q // self.size * self.size
        return (p.k >= first - self.before) & (p.k < first + self.size + self.after)

    def reach(self, t: Tile):
        first, last = t.first // self.size, t.last // self.size
        return [Stretch(first * self.size - self.before, (last + 1) * self.size + self.after)]

    def exact(self, rows: int) -> bool:
        return rows == self.size and not (self.before % rows or self.after % rows)

    @classmethod
    def examples(cls):
        return (cls(size=3, before=2, after=1), cls(size=2, before=4))


class Rectangles(Pattern):
    """width: of the image; down, across: lines and columns of a block of pixels, which see each other; above, below,
    aside: lines over and under the block, and columns on either side of it and of these, that all of them see too."""

    width: int = Field(default=32, gt=0, le=2**20)
    down: int = Field(default=8, gt=0, le=2**20)
    across: int = Field(default=8, gt=0, le=2**20)
    above: int = Field(default=4, ge=0, le=2**20)
    below: int = Field(default=0, ge=0, le=2**20)
    aside: int = Field(default=4, ge=0, le=2**20)

    @property
    def grain(self):
        return self.width if self.width <= 128 else self.across

    @property
    def memory(self):
        return 0, self.width * (self.down + self.above)

    def lines(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """First and last but one of the lines that pixels see."""
        block = place // self.width // self.down * self.down
        return block - self.above, block + self.down + self.below

    def columns(self, place: Tensor) -> tuple[Tensor, Tensor]:
        block = place % self.width // self.across * self.across
        return (block - self.aside).clamp(min=0), (block + self.across + self.aside).clamp(max=self.width)

    def allow(self, p: Pairs):
        (top, bottom), (left, right) = self.lines(p.q), self.columns(p.q)
        line, column = p.k // self.width, p.k % self.width
        return (line >= top) & (line < bottom) & (column >= left) & (column < right)

    def reach(self, t: Tile):
        """One stretch for each line; all lines are one where tiles go over the end of a line."""
        top, bottom = self.lines(t.first)[0], self.lines(t.last)[1]
        left, right = self.columns(t.first)[0], self.columns(t.last)[1]
        over = t.first // self.width != t.last // self.width
        if bool(over.all()):
            return [Stretch(top * self.width, bottom * self.width)]
        left, right = left.masked_fill(over, 0), right.masked_fill(over, self.width)
        lines = top[..., None] + torch.arange(int((bottom - top).max()), device=top.device)
        ends = torch.where(lines < bottom[..., None], right[..., None], left[..., None])
        starts = lines * self.width + left[..., None]
        return [Stretch(a, z) for a, z in zip(starts.unbind(-1), (lines * self.width + ends).unbind(-1))]

    @classmethod
    def examples(cls):
        return (cls(width=5, down=2, across=2, above=1, aside=1), cls(width=3, down=1, across=3, above=1, below=1))
