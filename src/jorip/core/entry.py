"""How a caller's inputs enter a model: as rows and their layout, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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


def mark(at: Layout, marks: Mapping[str, Tensor | Packed] | None) -> Layout:
    """The layout with marks of the caller's rows as tags: bool, like the inputs, or packed.

    Raises DataError for what is not bool or does not fit the inputs, with both shapes.
    """
    tags = {}
    for name, given in (marks or {}).items():
        values = given.values if isinstance(given, Packed) else given
        if isinstance(given, Packed):
            fits, form = torch.equal(given.lengths, at.lengths), f"packed lengths {given.lengths.tolist()[:8]}"
        else:
            fits, form = tuple(given.shape) == at.edge_shape, f"shape {tuple(given.shape)}"
        if values.dtype != torch.bool or not fits:
            raise DataError(
                f"marks {name!r} must be bool and like the inputs {at.edge_shape}, True = a marked row; "
                f"found {values.dtype} of {form}"
            )
        tags[name] = values if isinstance(given, Packed) else at.take(given)
    return replace(at, tags=at.tags | tags) if tags else at


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
