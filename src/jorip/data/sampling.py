"""Subword regularisation: the same words cut differently in each epoch, which helps where training text is scarce.

BPE-dropout (Provilkov, Emelianenko, Voita 2020, arXiv:1910.13267): while a word is put together from its bytes, every
possible merge is passed over with probability `dropout`. The library's own dropout draws from a global generator; here
each word type gets a few variants once, fixed by the word, and an epoch picks among them by its seed: a pure function,
and one gather an epoch.
"""

import json
import random
import zlib
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from jorip.core.errors import ConfigError
from jorip.core.random import mix_ints
from jorip.data.store import RaggedStore
from jorip.data.tokenizers import Tokenizer


class SubwordSampler:
    """The texts of a training split, to be encoded anew for each epoch. ConfigError for other kinds than bpe.

    dropout 0.1 is the paper's; 8 variants a word keep preparation to seconds for 100,000 word types.
    """

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], dropout: float = 0.1, variants: int = 8) -> None:
        if tokenizer.kind != "bpe":
            raise ConfigError(f"subword sampling needs a bpe tokenizer; found {tokenizer.kind}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"subword sampling: dropout must be in [0, 1); found {dropout}")
        model = json.loads(tokenizer.inner.to_str())["model"]
        pairs = (m.split(" ") if isinstance(m, str) else m for m in model["merges"])
        self._ranks = {tuple(pair): rank for rank, pair in enumerate(pairs)}
        types: dict[str, int] = {}
        split = tokenizer.inner.pre_tokenizer.pre_tokenize_str
        self._words = RaggedStore.of(
            [[types.setdefault(word, len(types)) for word, _ in split(tokenizer.normalize(text))] for text in texts]
        )
        ids = model["vocab"]
        self._variants = variants
        cuts = (self._cut(word, v, dropout) for word in types for v in range(variants))
        self._pieces = RaggedStore.of([ids[piece] for piece in cut] for cut in cuts)

    def store(self, seed: int, before: Sequence[int] = (), after: Sequence[int] = ()) -> RaggedStore:
        """All texts, cut as `seed` says (use mix_ints(seed, epoch)), each between the ids `before` and `after`."""
        words = self._words.values.long()
        generator = torch.Generator().manual_seed(mix_ints(seed, 0x5AB))
        variant = torch.randint(self._variants, (len(words),), generator=generator)
        pieces = self._pieces.take(words * self._variants + variant)
        ends = torch.cat([torch.zeros(1, dtype=torch.int64), pieces.lengths.cumsum(0)])[self._words.offsets]
        return surround(RaggedStore(pieces.values.int(), ends), before, after)

    def _cut(self, word: str, variant: int, dropout: float) -> list[str]:
        draw = random.Random(zlib.crc32(word.encode()) * 1000 + variant).random
        parts = list(word)
        while len(parts) > 1:
            possible = [
                (rank, i)
                for i, pair in enumerate(pairwise(parts))
                if (rank := self._ranks.get(pair)) is not None and draw() >= dropout
            ]
            if not possible:
                break
            _, i = min(possible)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return parts


def surround(store: RaggedStore, before: Sequence[int] = (), after: Sequence[int] = ()) -> RaggedStore:
    """The same examples with these ids put before and after each."""
    extra = len(before) + len(after)
    if not extra:
        return store
    n = len(store)
    offsets = store.offsets + torch.arange(n + 1) * extra
    values = store.values.new_empty(int(offsets[-1]))
    own = torch.ones(len(values), dtype=torch.bool)
    for shift, token in enumerate(before):
        _put(values, own, offsets[:-1] + shift, token)
    for shift, token in enumerate(reversed(after), 1):
        _put(values, own, offsets[1:] - shift, token)
    values[own] = store.values
    return RaggedStore(values, offsets)


def _put(values: Tensor, own: Tensor, at: Tensor, token: int) -> None:
    values[at] = token
    own[at] = False
