"""How a caller's inputs enter a model: as rows and their layout, checked."""

from __future__ import annotations

import torch
from torch import Tensor

from jorip.core.errors import DataError
from jorip.core.layout import Layout, Packed
from jorip.core.state import ModelState


def enter(inputs: Tensor | Packed, mask: Tensor | None, positions: Tensor | None, state: ModelState | None):
    """The caller's inputs as rows and their layout.

    Raises DataError for shapes that do not fit, with both shapes.
    """
    start = None if state is None or not bool(state.lengths.any()) else state.lengths
    if isinstance(inputs, Packed):
        flat = None if positions is None else positions.reshape(-1)
        return inputs.values, Layout.of(inputs.lengths, inputs.uid, start, flat)
    if inputs.dim() < 2:
        raise DataError(
            f"inputs must be (batch, length), found {tuple(inputs.shape)}: use inputs[None] for one sequence"
        )
    if mask is None:
        mask = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
    elif mask.shape != inputs.shape[:2]:
        raise DataError(f"mask {tuple(mask.shape)} does not fit inputs {tuple(inputs.shape)}: both are (batch, length)")
    at = Layout.pack(mask, start=start, positions=positions)
    return at.take(inputs), at


def check_tokens(tokens: Tensor, vocab_size: int, at: Layout, max_len: int | None) -> None:
    """Raises DataError for ids outside the vocabulary and sequences beyond max_len."""
    if tokens.numel() and (int(tokens.max()) >= vocab_size or int(tokens.min()) < 0):
        raise DataError(
            f"token ids must be 0 to {vocab_size - 1}, found {int(tokens.min())} to {int(tokens.max())}: "
            "is this the model's own tokenizer?"
        )
    if max_len is not None and at.batch and at.longest and int(at.total.max()) > max_len:
        raise DataError(
            f"a sequence of {int(at.total.max())} tokens is longer than max_len={max_len}: "
            "truncate it, or build the model with a larger max_len"
        )
