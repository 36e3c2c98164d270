"""What a model returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from jorip.core.layout import Rows
from jorip.core.state import ModelState


@dataclass
class Output:
    """hidden (batch, length, width) and logits (batch, length, classes) are in the caller's form, zero where the mask
    is False (packed rows for packed inputs); logits (batch, classes) for readouts of whole sequences, None when the
    model has no readout or only a loss was asked; pooled (batch, width), of readouts that pool; loss: (sum, count);
    memory: encoded rows; readouts: what a readout says besides, by name (next_sentence (batch, 2))."""

    hidden: Tensor
    logits: Tensor | None = None
    pooled: Tensor | None = None
    loss: tuple[Tensor, Tensor] | None = None
    aux_losses: dict[str, Tensor] = field(default_factory=dict)
    state: ModelState | None = None
    memory: Rows | None = None
    exits: list[Rows] = field(default_factory=list)
    readouts: dict[str, Tensor] = field(default_factory=dict)
    captures: dict[str, Tensor | None] = field(default_factory=dict)
