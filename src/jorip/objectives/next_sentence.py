"""Next sentence prediction (BERT, 1810.04805, task 2): does the second text follow the first?

Half of the time it does; half of the time it is a random text of another document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from jorip.core.errors import DataError
from jorip.objectives.base import Ids, Key, Objective, as_ids, generator


class SentencePair(NamedTuple):
    """first, second: (length,) int64; label: 0 = it follows, 1 = it is random, as in BERT's checkpoints."""

    first: Ids
    second: Ids
    label: int

    def packed(self, cls: int, sep: int) -> tuple[Ids, Ids]:
        """(tokens, segments): cls first sep second sep; segment 0 up to the first sep, 1 after it."""
        tokens = np.concatenate([[cls], self.first, [sep], self.second, [sep]])
        return tokens, (np.arange(len(tokens)) > len(self.first) + 1).astype(np.int64)


class NextSentence(Objective):
    """random: the probability that the second text is a random one."""

    random: float = Field(default=0.5, ge=0, le=1)

    def __call__(self, documents: Sequence[Sequence[Any]], document: int, place: int, key: Key) -> SentencePair:
        """documents: each a sequence of texts (token ids) in order; the first text is documents[document][place].

        The last text of a document has no next one: a random one follows. Raises DataError when a random text is needed
        and there is no other document with a text.
        """
        rng, here = generator(key, 2), documents[document]
        first = as_ids(here[place])
        if rng.random() >= self.random and place + 1 < len(here):
            return SentencePair(first, as_ids(here[place + 1]), 0)
        others = [i for i, d in enumerate(documents) if i != document and len(d)]
        if not others:
            raise DataError("next sentences need texts of at least two documents, found one")
        other = documents[others[int(rng.integers(len(others)))]]
        return SentencePair(first, as_ids(other[int(rng.integers(len(other)))]), 1)
