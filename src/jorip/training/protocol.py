"""What the engine asks of a task, and nothing else: it knows no data set, no tokenizer and no architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from jorip.core.layout import Packed
from jorip.core.random import Key

Batch = Mapping[str, Packed]


class Task(Protocol):
    """A model, its training examples and how to score it.

    model        trained in place
    sizes        (n_examples,) int64, tokens of each example as counted for the batch budget
    fingerprint  sha256 over encoded training data and tokenizer: a resume with other data is refused
    selects      the metric of `validate` that picks the best checkpoint, and its direction
    May be there too: `padding` (a fraction, float), which progress then shows; `transplant`, which says what the model
    started from; `notices`, sentences about the data that people should read; `quarantine`, rows that were not used,
    with `write(path)`; `merged`, model -> state, where the weights to keep are not those that are trained.
    """

    @property
    def model(self) -> nn.Module: ...

    @property
    def sizes(self) -> Tensor: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def selects(self) -> tuple[str, Literal["min", "max"]]: ...

    def plan(self, epoch: int) -> list[list[int]]:
        """Global batches of example ids, in order: a pure function of seed, epoch and data."""
        ...

    def batch(self, ids: list[int], epoch: int) -> Batch:
        """Packed streams of these examples, CPU tensors; uid = example id."""
        ...

    def count(self, batch: Batch) -> int:
        """Loss terms in the batch (target tokens or examples), known before the forward."""
        ...

    def loss(
        self, model: nn.Module, batch: Batch, key: Key, label_smoothing: float
    ) -> tuple[Tensor, int | Tensor, dict[str, Tensor]]:
        """Sum over the loss terms, their count, auxiliary losses (means over the batch). `model` may be a DDP wrap."""
        ...

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Metrics on the validation set."""
        ...

    def samples(self, model: nn.Module) -> list[dict[str, Any]]:
        """A few examples for people to read."""
        ...

    def artifacts(self, folder: Path) -> None:
        """Writes what a checkpoint needs besides weights (spec, tokenizer, task)."""
        ...
