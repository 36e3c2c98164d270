"""Which word each token belongs to, for hiding whole words: a word ends where letters, digits and `_` do."""

from __future__ import annotations

from typing import Any

import numpy as np

UNKNOWN = "\ufffd"  # a piece of a character reads so: letters, for this purpose


class WordPieces:
    """opens, closes (vocabulary,) bool: a word starts at this token, or after it."""

    def __init__(self, tokenizer: Any) -> None:
        names = [tokenizer.inner.id_to_token(i) or "" for i in range(tokenizer.vocab_size)]
        if tokenizer.kind in ("wordpiece", "words"):
            self.opens = np.array([not n.startswith("##") for n in names])
            self.closes = np.zeros(len(names), bool)
            return
        texts = tokenizer.pieces(range(tokenizer.vocab_size))
        spaced = [n.startswith(("Ġ", "▁")) for n in names]  # where `pieces` shows no space
        self.opens = np.array([s or not is_letter(t[:1]) for s, t in zip(spaced, texts)])
        self.closes = np.array([not is_letter(t[-1:]) and not t.isspace() for t in texts])

    def __call__(self, ids: Any) -> np.ndarray:
        """(length,) ids -> (length,) numbers, equal for the pieces of one word. A space belongs to what follows it."""
        ids = np.asarray(ids, np.int64)
        after = np.concatenate([[False], self.closes[ids[:-1]]])
        return (self.opens[ids] | after).cumsum()


def is_letter(character: str) -> bool:
    return character.isalnum() or character in ("_", UNKNOWN)
