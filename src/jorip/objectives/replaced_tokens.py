"""Replaced token detection (ELECTRA, 2003.10555): a small generator fills blanks, a discriminator finds what it put.

    min over both  L_MLM(x, generator) + 50 L_Disc(x, discriminator)                             (section 2)

The generator learns as a masked language model. Its own draws, through which no gradient goes, stand in the text that
the discriminator reads; a draw that happens to be the original counts as original.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from jorip.core.random import mix_ints, row_keys
from jorip.objectives.base import Ids, Key, Objective, Vocabulary
from jorip.objectives.masking import Masked, Masking
from jorip.ops.draw import draw, replace


class Replaced(NamedTuple):
    """inputs: the text that the discriminator reads; labels: 1 where a token is not the original. (length,) int64."""

    inputs: Ids
    labels: Ids


class ReplacedTokens(Objective):
    """rate: of the tokens, all of which become the mask; weight: of the discriminator's loss, which is a mean over all
    tokens and much smaller than the generator's."""

    rate: float = Field(default=0.15, gt=0, le=1)
    weight: float = Field(default=50.0, gt=0)

    @property
    def masking(self) -> Masking:
        """How the generator's blanks are chosen."""
        return Masking(rate=self.rate, mask=1.0, random=0.0)

    def __call__(self, ids: Any, key: Key, vocabulary: Vocabulary) -> Masked:
        """What the generator reads, and what it should say. Raises DataError for ids outside the vocabulary."""
        return self.masking(ids, key, vocabulary)

    def replace(self, masked: Masked, logits: Tensor, seed: int, example: int = 0) -> Replaced:
        """logits (hidden tokens, vocabulary): the generator's, of the hidden places in order. The same seed, example
        and logits give the same draws."""
        hidden = torch.from_numpy(np.flatnonzero(masked.targets >= 0))
        keys = row_keys(torch.full_like(hidden, example), hidden)
        drawn = draw(logits, keys, mix_ints(seed))
        tokens, labels = replace(torch.from_numpy(masked.inputs), torch.from_numpy(masked.targets), drawn)
        return Replaced(tokens.numpy(), labels.numpy())
