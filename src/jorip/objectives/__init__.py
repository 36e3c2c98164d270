"""Pre-training objectives (survey 7): what turns plain token ids into something to learn from.

Each is a small frozen value, called with token ids and a key: the same key gives the same noise, nothing is drawn from
a global generator, and everything pickles. Token ids come as lists, numpy arrays or CPU tensors and go as numpy int64.
"""

from jorip.objectives.base import IGNORE, Objective, Pair, Vocabulary
from jorip.objectives.causal import CausalLanguageModel, Prefixed, PrefixLanguageModel, Shifted
from jorip.objectives.denoising import Denoising
from jorip.objectives.masking import Masked, Masking
from jorip.objectives.next_sentence import NextSentence, SentencePair
from jorip.objectives.noises import (
    DocumentRotation,
    Noise,
    SentencePermutation,
    TextInfilling,
    TokenDeletion,
    TokenMasking,
)
from jorip.objectives.replaced_tokens import Replaced, ReplacedTokens
from jorip.objectives.span_corruption import SpanCorruption, blank, restore

__all__ = [
    "IGNORE",
    "CausalLanguageModel",
    "Denoising",
    "DocumentRotation",
    "Masked",
    "Masking",
    "NextSentence",
    "Noise",
    "Objective",
    "Pair",
    "PrefixLanguageModel",
    "Prefixed",
    "Replaced",
    "ReplacedTokens",
    "SentencePair",
    "SentencePermutation",
    "Shifted",
    "SpanCorruption",
    "TextInfilling",
    "TokenDeletion",
    "TokenMasking",
    "Vocabulary",
    "blank",
    "restore",
]
