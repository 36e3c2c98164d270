"""Draws from a distribution, against their probabilities."""

import pytest
import torch

from jorip.core.random import row_keys
from jorip.ops.draw import draw, replace


def keys(n):
    return row_keys(torch.zeros(n, dtype=torch.int64), torch.arange(n))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_frequencies_are_the_probabilities(dtype):
    logits = torch.randn(7, generator=torch.Generator().manual_seed(0))
    made = draw(logits.to(dtype).expand(20000, 7), keys(20000), 1)
    torch.testing.assert_close(made.bincount(minlength=7) / 20000, logits.softmax(0), rtol=0, atol=0.015)


def test_certain_and_impossible_tokens():
    logits = torch.full((5000, 4), float("-inf"))
    logits[:, 2] = 0
    assert draw(logits, keys(5000), 3).unique().tolist() == [2]
    logits[:, 1] = 0
    assert draw(logits, keys(5000), 3).unique().tolist() == [1, 2]


def test_a_draw_is_a_function_of_its_row():
    logits, k = torch.randn(50, 9), keys(50)
    made = draw(logits, k, 5)
    order = torch.randperm(50)
    assert torch.equal(draw(logits[order], k[order], 5), made[order])
    assert not torch.equal(draw(logits, k, 6), made)
    assert draw(logits[:0], k[:0], 5).tolist() == []


def test_replace():
    tokens, labels = replace(torch.tensor([1, 0, 0, 4]), torch.tensor([-100, 2, 3, -100]), torch.tensor([2, 9]))
    assert tokens.tolist() == [1, 2, 9, 4] and labels.tolist() == [0, 0, 1, 0]
