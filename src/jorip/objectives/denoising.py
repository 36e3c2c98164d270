"""Denoising (BART, 1910.13461): the source is a noisy text, the target the whole text.

The default is what BART's large model was trained with (section 5): sentence permutation, then 30 % of the tokens
hidden by text infilling.
"""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from jorip.objectives.base import Key, Objective, Pair, Vocabulary, generator
from jorip.objectives.noises import Noise, SentencePermutation, TextInfilling


class Denoising(Objective):
    """noises: applied one after the other; sentence_ends: characters that end a sentence, for tasks that look for the
    ids of `vocabulary.stops` (for code, a line end may be more to the point)."""

    noises: tuple[Noise, ...] = (SentencePermutation(), TextInfilling())
    sentence_ends: str = ".!?。"

    @field_validator("noises", mode="before")
    @classmethod
    def _tuple(cls, value):
        return tuple(value) if isinstance(value, list) else value

    def __call__(self, ids: Any, key: Key, vocabulary: Vocabulary) -> Pair:
        """Raises DataError for ids outside the vocabulary."""
        ids = vocabulary.ids(ids)
        noisy = ids
        for place, noise in enumerate(self.noises):
            if len(noisy):
                noisy = noise.apply(noisy, generator(key, 4, place), vocabulary)
        return Pair(noisy, ids)
