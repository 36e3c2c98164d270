"""Fixtures of the generation tests."""

import pytest
import torch

import jorip
from tests.inference.tiny_models import LAW, SIZES, VOCAB, build, encoder_decoder


@pytest.fixture
def decoder():
    return build(jorip.Decoder(**SIZES, init=LAW))


@pytest.fixture
def pair():
    return build(encoder_decoder())


@pytest.fixture
def ragged():
    """Four prompts of mixed lengths, without the special ids: a list of 1-D tensors."""
    g = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCAB, (n,), generator=g) for n in (5, 1, 7, 3)]
