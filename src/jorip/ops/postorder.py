"""Rows and the spans of a binary tree over them, in one line: after each row come the spans that end with it.

Span m of level l holds the rows m 2^l up to (m + 1) 2^l - 1; rows are level 0. So numbered, no place changes when the
sequence grows: what a causal stack has seen stays where it is. Spans that the end of the sequence cuts off come last,
by level; a causal stack has only whole ones.

All functions are of int64 tensors of any shape. place: in the line; row: in the sequence; n: rows of the sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor


def ones(x: Tensor) -> Tensor:
    """Set bits of non-negative numbers."""
    x = x - ((x >> 1) & 0x5555555555555555)
    x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F
    return (x * 0x0101010101010101) >> 56


def place_of(row: Tensor) -> Tensor:
    """Where a row is: behind the rows before it and the spans that ended there."""
    return 2 * row - ones(row)


def size(n: Tensor, whole: bool) -> Tensor:
    """How long the line is; whole: without the spans that are cut off."""
    return place_of(n) if whole else place_of(n) + (height(n) - first_cut(n) + 1).clamp(min=0)


def height(n: Tensor) -> Tensor:
    """Level of the span that holds everything; 0 for a sequence of one row or none."""
    x = (n - 1).clamp(min=0)
    for shift in (1, 2, 4, 8, 16, 32):
        x = x | (x >> shift)
    return ones(x)


def first_cut(n: Tensor) -> Tensor:
    """The lowest level on which the end of the sequence cuts a span off, if any does: then all higher ones do."""
    return ones((n & -n) - 1).masked_fill(n == 0, 0) + 1


def rows_of(length: Tensor, whole: bool = False) -> Tensor:
    """n of a line of this length; of the next shorter one where there is none of this."""
    most = int(length.max()) + 1 if length.numel() else 0
    sizes = size(torch.arange(most + 1, device=length.device), whole)
    return torch.searchsorted(sizes, length.contiguous(), right=True) - 1


def node(place: Tensor, n: Tensor | None) -> tuple[Tensor, Tensor]:
    """Level and index of what is at a place; n None: where nothing is cut off."""
    most = int(place.max()) + 1 if place.numel() else 0
    starts = place_of(torch.arange(most + 1, device=place.device))
    row = torch.searchsorted(starts, place.contiguous(), right=True) - 1
    level = place - starts[row]
    index = row >> level
    if n is None:
        return level, index
    end = place_of(n)
    cut = (place - end + first_cut(n)).minimum(height(n))  # beyond the line: the last node again
    late = place >= end
    return torch.where(late, cut, level), torch.where(late, n >> cut, index)
