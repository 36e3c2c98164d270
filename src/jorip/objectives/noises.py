"""BART's five noises (1910.13461, section 2.2): each takes token ids and gives noisy ones, so they compose.

    token masking         A B C . D E .  ->  A _ C . _ E .
    token deletion        A B C . D E .  ->  A C . E .
    text infilling        A B C . D E .  ->  A _ . D _ E .      spans of Poisson(3) tokens, one mask each, also for none
    sentence permutation  A B C . D E .  ->  D E . A B C .
    document rotation     A B C . D E .  ->  C . D E . A B

Numbers of tokens are exact. Texts come without begin and end marks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from jorip.core.spec import Spec
from jorip.objectives.base import Ids, Key, Vocabulary, generator, share_of


class Noise(Spec, family=True, package="jorip.objectives"):
    """Family of noises."""

    def __call__(self, ids: Any, key: Key, vocabulary: Vocabulary) -> Ids:
        """(length,) ids -> (new length,) int64. Raises DataError for ids outside the vocabulary."""
        ids = vocabulary.ids(ids)
        return self.apply(ids, generator(key, 4), vocabulary) if len(ids) else ids

    def apply(self, ids: Ids, rng: np.random.Generator, vocabulary: Vocabulary) -> Ids:
        """At least one id -> ids."""
        raise TypeError(f"{self.kind} makes no noise")


class TokenMasking(Noise):
    """rate: of the tokens, each of which becomes the mask (all of them, unlike in `Masking`)."""

    rate: float = Field(default=0.15, ge=0, le=1)

    def apply(self, ids, rng, vocabulary):
        noisy = ids.copy()
        noisy[rng.permutation(len(ids))[: share_of(len(ids), self.rate)]] = vocabulary.mask
        return noisy


class TokenDeletion(Noise):
    """rate: of the tokens, which go without a trace: the model must find out where."""

    rate: float = Field(default=0.15, ge=0, le=1)

    def apply(self, ids, rng, vocabulary):
        return np.delete(ids, rng.permutation(len(ids))[: share_of(len(ids), self.rate)])


class TextInfilling(Noise):
    """rate: of the tokens that are hidden; mean_span: of the Poisson distribution of span lengths. A span of length 0
    is a mask where nothing is missing; of these only as many are kept as leave the text no longer than it was, which
    a model of limited length could not read."""

    rate: float = Field(default=0.3, ge=0, le=1)
    mean_span: float = Field(default=3.0, ge=0.1)

    def apply(self, ids, rng, vocabulary):
        lengths = rng.permutation(self.spans(share_of(len(ids), self.rate), rng))
        # spans and kept tokens in a row, in uniformly random order: so many kept tokens come before each span
        slots = np.sort(rng.permutation(len(ids) - lengths.sum() + len(lengths))[: len(lengths)])
        starts = slots - np.arange(len(lengths)) + lengths.cumsum() - lengths
        return infill(ids, starts, lengths, vocabulary.mask)

    def spans(self, hidden: int, rng: np.random.Generator) -> Ids:
        """Lengths drawn until they hide so many tokens; the last is cut to fit."""
        lengths = np.zeros(0, np.int64)
        while lengths.sum() < hidden:
            lengths = np.concatenate([lengths, rng.poisson(self.mean_span, int(hidden / self.mean_span) + 8)])
        total = lengths.cumsum()
        n = int(np.searchsorted(total, hidden)) + 1 if hidden else 0
        lengths = lengths[:n]
        if n:
            lengths[-1] -= total[n - 1] - hidden
        return np.delete(lengths, np.flatnonzero(lengths == 0)[: max(n - hidden, 0)])


def infill(ids: Ids, starts: Ids, lengths: Ids, mask: int) -> Ids:
    """One mask in place of each span ids[start : start + length]; spans in order, without overlap."""
    hidden = np.zeros(len(ids) + 1, np.int64)
    np.add.at(hidden, starts, 1)
    np.add.at(hidden, starts + lengths, -1)
    kept = hidden.cumsum()[:-1] == 0
    before = np.concatenate([[0], kept.cumsum()])[starts]  # kept tokens before each span
    return np.insert(ids[kept], before, mask)


class SentencePermutation(Noise):
    """Sentences, cut after the ids in `vocabulary.stops`, in random order; what follows the last stop is one, too."""

    def apply(self, ids, rng, vocabulary):
        sentences = np.split(ids, np.flatnonzero(vocabulary.is_stop[ids[:-1]]) + 1)
        return np.concatenate([sentences[i] for i in rng.permutation(len(sentences))])


class DocumentRotation(Noise):
    """The text begins with a token drawn uniformly, and what came before it follows at the end."""

    def apply(self, ids, rng, vocabulary):
        return np.roll(ids, -int(rng.integers(len(ids))))
