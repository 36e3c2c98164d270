"""Drawing tokens from a model's own distribution, as a pure function of the rows' keys; for replaced tokens.

A draw inverts the distribution function: the first token at which sum p exceeds u, with one uniform u for each row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jorip.core.random import uniform_bits


@torch.no_grad()
def draw(logits: Tensor, keys: Tensor, number: int) -> Tensor:
    """logits (rows, vocabulary), keys (rows,) int32 -> (rows,) int64, drawn from softmax(logits)."""
    total = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1).cumsum_(-1)
    u = (uniform_bits(keys, 1, number).to(total.dtype) + 2.0**31) / 2**32
    u = u * total[:, -1:]  # the sum is 1 but for rounding, and a token of probability 0 must not be drawn
    return torch.searchsorted(total, u, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


def replace(inputs: Tensor, targets: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """(tokens, labels), (rows,) int64 each: inputs with `drawn` at the places that have a target (0 or more), and 1
    where the token that stands there now is not the target."""
    asked = targets >= 0
    tokens = inputs.clone()
    tokens[asked] = drawn
    labels = torch.zeros_like(inputs)
    labels[asked] = (drawn != targets[asked]).to(labels.dtype)
    return tokens, labels
