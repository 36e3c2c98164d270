"""The budget that every variant gets: optimizer steps, operations, or training time. All become a number of steps
before anything is trained, so that runs can be resumed and repeated exactly, schedules know their end, and evaluation
takes nothing away.

    steps    the same number
    flops    F / (3 x forward FLOPs of a mean step)          backward counted as twice the forward pass
    minutes  60 M / seconds of a step, measured for all variants in turn before the first run
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jorip.core.errors import ConfigError, did_you_mean
from jorip.tasks.config import read_yaml

KINDS = ("steps", "flops", "minutes")
TRAINING = 3  # forward passes that a step is worth


@dataclass(frozen=True)
class Budget:
    """kind: one of KINDS; amount: of each run."""

    kind: str
    amount: float

    @classmethod
    def parse(cls, value: Any) -> Budget:
        """`steps=1000`, `flops=1e15`, `minutes=15`, or {"steps": 1000}. Raises ConfigError."""
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping) and len(value) == 1:
            ((kind, amount),) = value.items()
        elif isinstance(value, str) and "=" in value:
            kind, _, text = value.partition("=")
            amount = read_yaml(text, f"--budget {value}")
        else:
            raise ConfigError(f"a budget is steps=N, flops=F or minutes=M, found {value!r}")
        if kind not in KINDS:
            raise ConfigError(f"there is no budget called {kind!r}{did_you_mean(str(kind), KINDS)}")
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < float("inf"):
            raise ConfigError(f"the budget of {kind} is a number above 0, found {amount!r}")
        if kind == "steps" and amount != int(amount):
            raise ConfigError(f"the budget of steps is a whole number, found {amount!r}")
        return cls(str(kind), int(amount) if kind == "steps" else float(amount))

    def steps(self, flops_per_step: float, seconds_per_step: float | None) -> int:
        """How many steps it pays for, one at least. seconds_per_step: needed for minutes only."""
        if self.kind == "steps":
            return int(self.amount)
        if self.kind == "flops":
            return max(1, round(self.amount / (TRAINING * flops_per_step)))
        assert seconds_per_step is not None
        return max(1, round(60 * self.amount / seconds_per_step))

    def __str__(self) -> str:
        return f"{self.amount:g} {self.kind}"
