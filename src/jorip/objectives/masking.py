"""Masked language modelling (BERT, 1810.04805, task 1): tokens are hidden and predicted from both sides.

Of the ordinary tokens of a text 15 % are chosen, exactly; a chosen one becomes the mask with probability 0.8, a random
token with 0.1, and stays as it is with 0.1. The loss asks for the chosen ones only.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from jorip.core.errors import DataError
from jorip.objectives.base import IGNORE, Ids, Key, Objective, Vocabulary, generator, share_of


class Masked(NamedTuple):
    """inputs: the tokens with some hidden; targets: what the hidden ones are, IGNORE elsewhere. (length,) int64."""

    inputs: Ids
    targets: Ids

    @property
    def original(self) -> Ids:
        """The tokens as they were."""
        return np.where(self.targets == IGNORE, self.inputs, self.targets)


class Masking(Objective):
    """rate: of the ordinary tokens; mask, random: of the chosen ones, the rest stays; whole_words: the pieces of a word
    are chosen together (BERT's later checkpoints); variants: static or dynamic, see `Objective`."""

    rate: float = Field(default=0.15, ge=0, le=1)
    mask: float = Field(default=0.8, ge=0, le=1)
    random: float = Field(default=0.1, ge=0, le=1)
    whole_words: bool = False

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.mask + self.random > 1 + 1e-9:
            raise ValueError(f"mask and random are shares of one whole, found {self.mask} + {self.random}")
        return self

    def __call__(self, ids: Any, key: Key, vocabulary: Vocabulary, words: Any = None) -> Masked:
        """words (length,): which word each token belongs to, needed for whole words.

        Raises DataError for ids outside the vocabulary, and when whole words are asked for without `words`.
        """
        ids, rng = vocabulary.ids(ids), generator(key, 1)
        chosen = self.choose(ids, rng, vocabulary, words)
        inputs, targets = ids.copy(), np.full_like(ids, IGNORE)
        targets[chosen] = ids[chosen]
        fate = rng.random(len(chosen))
        inputs[chosen[fate < self.mask]] = vocabulary.mask
        other = chosen[(fate >= self.mask) & (fate < self.mask + self.random)]
        if len(other) and len(vocabulary.ordinary):
            inputs[other] = rng.choice(vocabulary.ordinary, len(other))
        return Masked(inputs, targets)

    def count(self, n: int) -> int:
        """How many of n ordinary tokens are chosen; at most so many with whole words."""
        return share_of(n, self.rate)

    def choose(self, ids: Ids, rng: np.random.Generator, vocabulary: Vocabulary, words: Any = None) -> Ids:
        """The places that are chosen, ascending."""
        places = np.flatnonzero(~vocabulary.is_special[ids])
        n = self.count(len(places))
        if not self.whole_words:
            return np.sort(rng.permutation(places)[:n])
        words = None if words is None else np.asarray(words)
        if words is None or words.shape != ids.shape:
            found = "none" if words is None else f"{len(words)} for {len(ids)} tokens"
            raise DataError(f"whole words need the word of every token (words), found {found}")
        return whole_words(places, words[places], n, rng)


def whole_words(places: Ids, words: Ids, n: int, rng: np.random.Generator) -> Ids:
    """Places of words drawn in random order as long as they fit into n tokens; one that does not fit is passed over,
    as in BERT. Where none fits, the first one drawn."""
    if not n:
        return places[:0]
    _, word, sizes = np.unique(words, return_inverse=True, return_counts=True)
    taken, room = [], n
    order = rng.permutation(len(sizes)).tolist()
    for w in order:
        if sizes[w] <= room:
            taken.append(w)
            room -= sizes[w]
        if not room:
            break
    return places[np.isin(word, taken or order[:1])]
