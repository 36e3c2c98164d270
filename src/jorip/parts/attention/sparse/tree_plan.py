"""How the graph of BP-Transformer is run: in which order its nodes are laid, and which tiles read which (A1.12).

Frame: rows first; then, for every 64 of them, the 63 spans of up to 64 rows inside and an empty slot; then the longer
spans, level by level. In it everything repeats: 64 rows are one tile, whose keys are the few nodes that any of them
reads; the spans that hold any of 64 rows are another, whose keys are those rows. A span longer than that is in several
tiles, each of which gives it a part of its attention.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jorip.core.kept import kept
from jorip.ops.attention import hidden
from jorip.ops.tiles import Tiles
from jorip.parts.attention.patterns.tree import chain

ROWS, _SHORT = 64, 6  # rows of a tile: spans up to this level, log2 of them, are inside


@dataclass(frozen=True)
class TreePlan:
    """length: of the frame, which begins with `padded` rows; rows: Tiles of the rows, over the whole frame; spans:
    of the 64 short and then the long ones, over the rows; long (tiles, levels) int64: slots of the long spans of each
    tile; starts: the first slot of each level of long spans, and the end."""

    length: int
    padded: int
    rows: Tiles
    spans: Tiles
    long: Tensor
    starts: tuple[int, ...]

    @property
    def pairs(self) -> int:
        """Of each sequence and head, that are computed."""
        return self.padded * (self.rows.table.shape[2] + ROWS + self.long.shape[1])


def slot_of(level: Tensor, index: Tensor, padded: int) -> Tensor:
    """Where a node is in the frame of so many rows, filled up to a multiple of 64."""
    within = _SHORT - level.clamp(max=_SHORT)  # log2 of how many spans of this level are in 64 rows
    short = padded + ((index >> within) << _SHORT) + ROWS - (2 << within) + (index & ((1 << within) - 1))
    starts = torch.tensor(_starts(padded), device=level.device)
    long = starts[(level - _SHORT - 1).clamp(min=0, max=len(starts) - 1)] + index
    return torch.where(level == 0, index, torch.where(level <= _SHORT, short, long))


def _starts(padded: int) -> list[int]:
    """First slots of the levels above the short ones, and where the frame ends."""
    starts, rows = [2 * padded], ROWS
    while rows < padded:
        rows *= 2
        starts.append(starts[-1] + -(-padded // rows))
    return starts


@kept(16)
def tree_plan(padded: int, near: int, causal: bool, device) -> TreePlan:
    """For a frame of so many rows, a multiple of 64."""
    chunks = torch.arange(padded // ROWS, device=device)
    starts = _starts(padded)
    levels = torch.arange(len(starts) - 1, device=device)
    long = torch.tensor(starts[:-1], dtype=torch.int64, device=device) + (chunks[:, None] >> (levels + 1))
    within = torch.arange(ROWS, device=device)
    held = torch.ones(ROWS + len(levels), ROWS, dtype=torch.bool, device=device)
    held[ROWS - 1] = False  # the empty slot
    for level in range(1, _SHORT + 1):
        count = ROWS >> level
        held[ROWS - 2 * count : ROWS - count] = (within >> level) == torch.arange(count, device=device)[:, None]
    spans = Tiles(chunks.view(1, -1, 1), ROWS, hidden(held[None]))
    rows = _row_tiles(chunks, padded, near, causal, len(starts) + _SHORT)
    return TreePlan(starts[-1], padded, rows, spans, long, tuple(starts))


def _row_tiles(chunks: Tensor, padded: int, near: int, causal: bool, levels: int) -> Tiles:
    """Key blocks of one node each: of every level, those between the first and the last that a tile's rows read."""
    row = chunks[:, None] * ROWS + torch.arange(ROWS, device=chunks.device)
    sides = [(0, row - near, row if causal else row + near)]
    for level, left, right in chain(row, near, levels - 1):
        sides.append((level, left - near + 1, left))
        if not causal:
            sides.append((level, right, right + near - 1))
    tables, seen = [], []
    for level, low, high in sides:
        low, high = low.clamp(min=0), high.clamp(max=-(-padded // (1 << level)) - 1)
        first, last = low[:, :1], high[:, -1:]
        width = max(0, int((last - first).max()) + 1) if len(row) else 0
        ids = first + torch.arange(width, device=row.device)
        slots = slot_of(torch.full_like(ids, level), ids, padded)
        tables.append(slots.masked_fill(ids > last, -1))
        seen.append((ids[:, None] >= low[..., None]) & (ids[:, None] <= high[..., None]))
    kind = chunks.view(1, -1)
    return Tiles(torch.cat(tables, 1)[None], 1, hidden(torch.cat(seen, 2)), kind)
