"""What a checkpoint rule does with one group of tensors, in both directions: rename, transpose, split, stack, reshape.

All of them only look at their tensors and return views where they can, so they also run on tensors without memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jorip.core.errors import ConfigError


class Rename:
    """One of theirs is one of ours."""

    over: str | None = None  # the placeholder that only their side has
    done = ""  # a word for the load report

    def __init__(self, *ours: str):
        self.ours = ours

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        """Their tensors of one group, in order, as ours, in order. Raises ValueError when they do not fit."""
        return theirs

    def save(self, ours: list[Tensor]) -> list[Tensor]:
        return ours


class Transposed(Rename):
    """Matrices are stored the other way round (GPT-2's Conv1D); vectors are not."""

    done = "transposed"

    def load(self, theirs):
        return [flip(t) for t in theirs]

    def save(self, ours):
        return [flip(t) for t in ours]


class Fused(Rename):
    """One of theirs holds several of ours one after the other, `sizes` rows each, along the output dimension."""

    done = "split"

    def __init__(self, *ours: str, sizes: tuple[int, ...], transposed: bool = False):
        super().__init__(*ours)
        self.sizes, self.transposed = sizes, transposed
        if len(sizes) != len(ours):
            raise ConfigError(f"Fused needs a size for each of {', '.join(ours)}; found {sizes}")

    def load(self, theirs):
        whole = flip(theirs[0]) if self.transposed else theirs[0]
        if whole.dim() == 0 or whole.shape[0] != sum(self.sizes):
            raise ValueError(f"is {tuple(theirs[0].shape)}, expected {' + '.join(map(str, self.sizes))} outputs")
        return list(whole.split(self.sizes))

    def save(self, ours):
        alike(ours)
        if [len(t) for t in ours] != list(self.sizes):
            raise ValueError(f"are {[tuple(t.shape) for t in ours]}, expected {self.sizes} outputs")
        whole = torch.cat(ours)
        return [flip(whole) if self.transposed else whole]


class Stacked(Rename):
    """Many of theirs, one for each number of the placeholder `over` from 0, are the slices of one of ours (experts)."""

    done = "stacked"

    def __init__(self, ours: str, over: str):
        super().__init__(ours)
        self.over = over

    def load(self, theirs):
        alike(theirs)
        if len({t.shape for t in theirs}) > 1:
            raise ValueError(f"have different shapes: {sorted({tuple(t.shape) for t in theirs})}")
        if theirs[0].is_meta:  # torch.stack would import sympy for these, 70 MB
            return [theirs[0].new_empty((len(theirs), *theirs[0].shape))]
        return [torch.stack(theirs)]

    def save(self, ours):
        return list(ours[0])


class Reshaped(Rename):
    """The same numbers in another shape: `Reshaped("readout.out.bias", theirs=(1, -1), mine=(-1,))` for BART's
    `final_logits_bias`. A size of -1 is whatever is there, at most one on each side."""

    done = "reshaped"

    def __init__(self, *ours: str, theirs: tuple[int, ...], mine: tuple[int, ...]):
        super().__init__(*ours)
        self.theirs, self.mine = theirs, mine

    def load(self, theirs):
        return [reshape(t, self.theirs, self.mine) for t in theirs]

    def save(self, ours):
        return [reshape(t, self.mine, self.theirs) for t in ours]


@dataclass(frozen=True)
class Tied:
    """A copy of another of theirs: checked when both are there, standing for it when it is there alone, not written."""

    to: str


@dataclass(frozen=True)
class Ignored:
    """Not a weight (a buffer of constants, say): dropped when it is there, not written. why: for the load report."""

    why: str = "not a weight"


def flip(t: Tensor) -> Tensor:
    return t.mT if t.dim() == 2 else t


def reshape(t: Tensor, before: tuple[int, ...], after: tuple[int, ...]) -> Tensor:
    """Raises ValueError for a shape that is not `before`."""
    if t.dim() != len(before) or any(b not in (-1, n) for n, b in zip(t.shape, before)):
        raise ValueError(f"has shape {tuple(t.shape)}, expected {before}")
    return t.reshape(after)


def alike(tensors: list[Tensor]) -> None:
    """Raises ValueError for types that would be converted to put the tensors together."""
    if len({t.dtype for t in tensors}) > 1:
        raise ValueError(f"have different types: {', '.join(sorted({str(t.dtype) for t in tensors}))}")
