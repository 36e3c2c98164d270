"""Texts with blanks: how people write them, and how they are shown.

A blank is written `<mask>`, whatever the tokenizer's own mask token looks like (which is understood, too).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from jorip.core.errors import DataError
from jorip.objectives.base import Vocabulary

BLANK = "<mask>"


def read_blanks(tokenizer: Any, text: str, needed: bool = True) -> list[int]:
    """Ids, the mask's where a blank is. The space before a blank belongs to what is missing where tokens hold their own
    space, so it goes with it. Raises DataError when a blank is `needed` and there is none."""
    own = tokenizer.inner.id_to_token(tokenizer.mask)
    if needed and BLANK not in text and own not in text:
        raise DataError(f"there is no {BLANK} in {text[:60]!r}: write one where something is missing")
    if not tokenizer.own:
        return tokenizer.encode(text.replace(BLANK, own), allow_specials=True)
    parts, spaced = text.split(BLANK), tokenizer.kind in ("bpe", "unigram")
    ids: list[int] = []
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        ids += tokenizer.encode(part.removesuffix(" ") if spaced and not last else part)
        ids += [] if last else [tokenizer.mask]
    return ids


def spell(tokenizer: Any, ids: Iterable[int], sentinels: Sequence[int] = ()) -> str:
    """A text for people: masks as `<mask>`, sentinels as <1> <2> ... in their order of use, no other special tokens."""
    place = {s: f"<{i}>" for i, s in enumerate(sentinels, 1)} | {tokenizer.mask: BLANK}
    parts: list[str] = []
    for marked, group in groupby((int(i) for i in ids), place.__contains__):
        run = list(group)
        parts += [place[i] for i in run] if marked else [tokenizer.decode(run)]
    return ("" if tokenizer.kind not in ("wordpiece", "words") else " ").join(parts)


def stops(tokenizer: Any, ends: str) -> frozenset[int]:
    """Ids of tokens whose text ends with one of these characters, spaces aside."""
    return frozenset(
        i for i, text in enumerate(tokenizer.pieces(range(tokenizer.vocab_size))) if text.rstrip(" ")[-1:] in {*ends}
    )


def as_vocabulary(tokenizer: Any, size: int, ends: str = "", sentinels: tuple[int, ...] = ()) -> Vocabulary:
    """What noise must know of this tokenizer, in a model that has `size` ids."""
    special = frozenset(range(6) if tokenizer.own else tokenizer.specials.values())
    found = stops(tokenizer, ends) if ends else frozenset()
    mask = tokenizer.mask if tokenizer.mask is not None else 0
    return Vocabulary(size=size, mask=mask, special=special - {*sentinels}, stops=found, sentinels=sentinels)
