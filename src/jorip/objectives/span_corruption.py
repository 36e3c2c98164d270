"""Span corruption (T5, 1910.10683, section 3.3.4): spans become blanks, and only what was there is said.

    Thank you for inviting me to your party last week.
    source  Thank you <X> me to your party <Y> week.
    target  <X> for inviting <Y> last <Z>

Tokens hidden and number of spans follow from the length alone: n r and n r / m, rounded; only where the spans lie is
random. Hidden and kept tokens are each cut into parts, every cut being equally likely, and laid in turn. Spans lie
anywhere, as in the paper's figure; its code lets every text end with a hidden span, which in a short text is always the
same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from jorip.core.errors import DataError
from jorip.objectives.base import Ids, Key, Objective, Pair, Vocabulary, as_ids, generator


class SpanCorruption(Objective):
    """rate: of the tokens that are hidden; mean_span: their mean length; sentinels: how many ids mark blanks, where the
    vocabulary does not name them: its last ones, descending."""

    rate: float = Field(default=0.15, ge=0, lt=1)
    mean_span: float = Field(default=3.0, ge=1)
    sentinels: int = Field(default=100, ge=2)

    def __call__(self, ids: Any, key: Key, vocabulary: Vocabulary) -> Pair:
        """Nothing is hidden of texts of less than two tokens.

        Raises DataError for ids outside the vocabulary, and for texts that need more sentinels than there are.
        """
        ids = vocabulary.ids(ids)
        return blank(ids, self.hidden(len(ids), generator(key, 5)), self.ids(vocabulary))

    def ids(self, vocabulary: Vocabulary) -> tuple[int, ...]:
        """The ids that mark blanks, in the order of use."""
        return vocabulary.sentinels or tuple(range(vocabulary.size - 1, vocabulary.size - 1 - self.sentinels, -1))

    def counts(self, length: int) -> tuple[int, int]:
        """(tokens hidden, spans) of a text of this length."""
        if length < 2 or not self.rate:
            return 0, 0
        hidden = min(max(round(length * self.rate), 1), length - 1)
        return hidden, min(max(round(hidden / self.mean_span), 1), length - hidden + 1)

    def size(self, length: int) -> int:
        """Tokens of source and target together."""
        return length + 2 * self.counts(length)[1] + 1

    def hidden(self, length: int, rng: np.random.Generator) -> np.ndarray:
        """(length,) bool."""
        hidden, spans = self.counts(length)
        if not spans:
            return np.zeros(length, bool)
        kept = segments(length - hidden + 2, spans + 1, rng)
        kept[[0, -1]] -= 1  # the outer parts may be empty
        runs = np.zeros(2 * spans + 1, np.int64)
        runs[::2], runs[1::2] = kept, segments(hidden, spans, rng)
        return (np.arange(2 * spans + 1) % 2 == 1).repeat(runs)


def segments(total: int, parts: int, rng: np.random.Generator) -> Ids:
    """(parts,) lengths, 1 or more each, with this sum; every way to cut is equally likely."""
    cuts = np.sort(rng.permutation(total - 1)[: parts - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def blank(ids: Any, hidden: np.ndarray, sentinels: Sequence[int]) -> Pair:
    """The two sides for given places; hidden (length,) bool, each run of True being one blank.

    Raises DataError when there are fewer sentinels than blanks and the end need.
    """
    ids = as_ids(ids)
    starts = hidden & ~np.concatenate([[False], hidden[:-1]])
    n = int(starts.sum())
    if n + 1 > len(sentinels):
        raise DataError(
            f"a text of {len(ids)} tokens with {n} blanks needs {n + 1} sentinels, found {len(sentinels)}: "
            "take more sentinels, or shorter texts"
        )
    marks = np.asarray(sentinels[: n + 1], np.int64)
    source = ids.copy()
    source[starts] = marks[:-1]
    target = np.insert(ids[hidden], np.flatnonzero(starts[hidden]), marks[:-1])
    return Pair(source[~hidden | starts], np.append(target, marks[-1]))


def restore(source: Any, target: Any, sentinels: Sequence[int]) -> Ids:
    """The text with its blanks filled: the inverse of `blank`. A blank that the target does not name stays empty; of
    one that it names twice the first filling counts."""
    marks, fills, name = set(sentinels), {}, None
    for token in as_ids(target).tolist():
        if token in marks:
            name = None if token in fills else token
            fills.setdefault(token, [])
        elif name is not None:
            fills[name].append(token)
    return np.asarray(
        [t for s in as_ids(source).tolist() for t in (fills.get(s, ()) if s in marks else (s,))], np.int64
    )
