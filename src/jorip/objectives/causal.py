"""Causal and prefix language modelling: each token is predicted from those before it.

    causal  sum_t -log p(x_t | x_<t)                                     (GPT, OpenAI 2018, Eq 1)
    prefix  sum_{t >= s} -log p(x_t | x_<t), the first s tokens being seen in both directions   (T5, 1910.10683, 3.2.1)

The second needs a model that is called with the mask `jorip.core.mask.Prefix`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jorip.objectives.base import IGNORE, Ids, Key, Objective, as_ids, generator


class Shifted(NamedTuple):
    """inputs and targets, (length - 1,) int64: the target of a place is the token after it."""

    inputs: Ids
    targets: Ids


class Prefixed(NamedTuple):
    """inputs, targets: as `Shifted`, with IGNORE where the target is part of the prefix; prefix: how many of the inputs
    are seen in both directions."""

    inputs: Ids
    targets: Ids
    prefix: int


class CausalLanguageModel(Objective):
    """Nothing is drawn: a text gives one example."""

    def __call__(self, ids: Any) -> Shifted:
        """Texts of less than two tokens give empty examples."""
        ids = as_ids(ids)
        return Shifted(ids[:-1], ids[1:])


class PrefixLanguageModel(Objective):
    """The prefix ends anywhere, uniformly: it has 1 to length - 1 tokens."""

    def __call__(self, ids: Any, key: Key) -> Prefixed:
        """Texts of less than two tokens give empty examples."""
        ids = as_ids(ids)
        if len(ids) < 2:
            return Prefixed(ids[:0], ids[:0], 0)
        prefix = int(generator(key, 3).integers(1, len(ids)))
        targets = np.where(np.arange(1, len(ids)) < prefix, IGNORE, ids[1:])
        return Prefixed(ids[:-1], targets, prefix)
