"""The running average of the weights (exponential; Polyak and Juditsky 1992, as used by Tarvainen and Valpola 2017).

    average <- d average + (1 - d) weights,   d = min(decay, (1 + n) / (10 + n)) at update n

The ramp keeps the random initial weights from staying in the average of a short run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """Averages of a model's parameters; buffers are used as they are."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.weights = dict(model.named_parameters())
        self.average = {n: p.detach().clone() for n, p in self.weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """After an optimizer step."""
        d = min(self.decay, (1 + self.updates) / (10 + self.updates))
        get_ema_multi_avg_fn(d)(list(self.average.values()), list(self.weights.values()), self.updates)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside, and its own bits again afterwards."""
        own = {n: p.detach().clone() for n, p in self.weights.items()}
        self._copy(self.average)
        try:
            yield
        finally:
            self._copy(own)

    @torch.no_grad()
    def _copy(self, values: dict[str, torch.Tensor]) -> None:
        for n, p in self.weights.items():
            p.copy_(values[n])
