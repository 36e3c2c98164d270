"""What objectives share: the vocabulary's facts, keys, and exact counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from jorip.core.errors import DataError
from jorip.core.spec import Spec

IGNORE = -100  # a target that asks for no loss, as in torch.nn.functional.cross_entropy

Ids = np.ndarray
Key = int | Sequence[int]


class Pair(NamedTuple):
    """source: what an encoder reads; target: what a decoder should say. (length,) int64 each, without begin and end
    marks."""

    source: Ids
    target: Ids


@dataclass(frozen=True)
class Vocabulary:
    """What noise must know of the tokens.

    size       ids are 0 to size - 1
    mask       the id that stands for what is hidden
    special    ids that no text is made of: never hidden by `Masking`, never drawn as a random token
    stops      ids that end a sentence
    sentinels  ids that mark blanks in T5's form, in the order of use; empty: the last ids, descending, as in T5
    """

    size: int
    mask: int = 0
    special: frozenset[int] = frozenset()
    stops: frozenset[int] = frozenset()
    sentinels: tuple[int, ...] = ()

    @cached_property
    def ordinary(self) -> Ids:
        """The ids that texts are made of, ascending."""
        return np.setdiff1d(np.arange(self.size), list({self.mask, *self.special, *self.sentinels}))

    @cached_property
    def is_special(self) -> np.ndarray:
        """(size,) bool."""
        return np.isin(np.arange(self.size), list(self.special))

    @cached_property
    def is_stop(self) -> np.ndarray:
        """(size,) bool."""
        return np.isin(np.arange(self.size), list(self.stops))

    def ids(self, tokens: Any) -> Ids:
        """(length,) int64 from a list, an array or a CPU tensor. Raises DataError for ids outside the vocabulary."""
        ids = as_ids(tokens)
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.size:
            raise DataError(
                f"token ids must be 0 to {self.size - 1}, found {ids.min()} to {ids.max()}: is this vocabulary the "
                "tokenizer's own?"
            )
        return ids


class Objective(Spec, family=True, package="jorip.objectives"):
    """Family of objectives. variants: how many different noises a text gets over the epochs; None = a new one each
    time (RoBERTa's dynamic masking, 1907.11692 4.1), 1 = always the same (static), 10 = what BERT did by writing its
    data ten times."""

    variants: int | None = Field(default=None, ge=1)

    def key(self, seed: int, epoch: int, example: int) -> tuple[int, int, int]:
        """The key of one example in one epoch of a run."""
        return seed, epoch if self.variants is None else epoch % self.variants, example


def as_ids(tokens: Any) -> Ids:
    """(length,) int64. Raises DataError for anything but one sequence of integers."""
    ids = np.asarray(tokens)
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
        raise DataError(f"token ids must be one sequence of integers, found {ids.dtype} of shape {ids.shape}")
    return ids.astype(np.int64)


def generator(key: Key, *more: int) -> np.random.Generator:
    """A generator of its own for these integers (0 or more each); equal integers give equal draws."""
    parts = [int(k) for k in (*(key if isinstance(key, Iterable) else (key,)), *more)]
    return np.random.default_rng([len(parts), *parts])  # the length: trailing zeros would not count


def share_of(n: int, rate: float) -> int:
    """How many of n are chosen at this rate: rounded, and at least one of any where the rate is not zero, so that no
    text teaches nothing."""
    return min(n, max(1, round(n * rate))) if n and rate else 0
