"""Tiny models whose next token depends on everything before it, in float64 so that rounding never decides."""

import pytest
import torch

import jorip
from jorip.core.errors import Refused
from jorip.parts.mixer.base import Mixer

VOCAB = 13
SIZES = {"vocab_size": VOCAB, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_len": 40}
LAW = jorip.Normal(std=0.4, scale_residual=False)


def causal_mixers():
    """Every example of every registered mixer that can be causal."""
    found = []
    for member in Mixer.members().values():
        for example in member.examples():
            spec = jorip.Decoder(**SIZES, layer=jorip.PreNorm(mixer=example), init=LAW)
            try:
                spec.build(device="meta")
            except Refused:
                continue
            found.append(pytest.param(spec, id=str(example.to_dict())))
    return found


def encoder_decoder(**changes) -> jorip.EncoderDecoder:
    sizes = SIZES | changes
    return jorip.EncoderDecoder(encoder=jorip.Encoder(**sizes), decoder=jorip.Decoder(**sizes), init=LAW)


def build(spec, seed: int = 0):
    return spec.build(seed=seed, dtype=torch.float64)


def padded(sequences, side):
    """(batch, longest) and its mask."""
    longest = max(len(s) for s in sequences)
    tokens = torch.zeros(len(sequences), longest, dtype=torch.int64)
    mask = torch.zeros(len(sequences), longest, dtype=torch.bool)
    for i, s in enumerate(sequences):
        place = slice(0, len(s)) if side == "right" else slice(longest - len(s), longest)
        tokens[i, place], mask[i, place] = s, True
    return tokens, mask
