"""What the parts of a running training share."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jorip.training.average import Average
from jorip.training.checkpoint import Checkpoints
from jorip.training.config import TrainConfig
from jorip.training.distributed import World
from jorip.training.events import EventLog
from jorip.training.progress import Progress
from jorip.training.protocol import Task
from jorip.training.signals import Signals
from jorip.training.state import State
from jorip.training.step import Gradients
from jorip.training.tensorboard import Board


@dataclass
class Session:
    """One run in this process, put together by `start.train`.

    events: None on ranks other than 0. board: None unless asked for.
    total: steps at which the run ends by count, None when only time ends it.
    """

    task: Task
    config: TrainConfig
    folder: Path
    world: World
    device: torch.device
    state: State
    optimizer: torch.optim.Optimizer
    average: Average | None
    gradients: Gradients
    checkpoints: Checkpoints
    events: EventLog | None
    signals: Signals
    progress: Progress
    board: Board | None
    plan: list[list[int]]
    total: int | None
    resumed: bool
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = time.perf_counter() - self.state.seconds

    @property
    def epoch(self) -> float:
        """Epochs done, with the fraction."""
        return round(self.state.epoch + self.state.batch / len(self.plan), 4)

    @property
    def epoch_end(self) -> bool:
        return self.state.batch == len(self.plan)

    def seconds(self) -> float:
        """Wall time of the run, earlier sittings included."""
        return time.perf_counter() - self.began

    def done(self) -> float:
        """Share of the run that is done, 0 to 1."""
        s, minutes = self.state, self.config.minutes
        by_steps = s.step / self.total if self.total else 0.0
        by_time = s.seconds / (60 * minutes) if minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    def emit(self, kind: str, **fields: Any) -> None:
        """A line in events.jsonl."""
        if self.events:
            self.events.write(kind, **fields)

    def log(self) -> None:
        """The log line of the steps since the last one. loss: mean over their loss terms."""
        s = self.state
        fields: dict[str, Any] = {
            "step": s.step,
            "epoch": self.epoch,
            "loss": s.log_loss / s.log_count if s.log_count else math.nan,
            "lr": s.lr,
            "grad_norm": s.grad_norm,
            "tokens": s.tokens,
            "seconds": s.seconds,
            "tokens_per_second": s.log_tokens / max(s.log_seconds, 1e-9),
        }
        if s.log_aux:
            fields["aux"] = {name: value / s.log_steps for name, value in s.log_aux.items()}
        s.log_loss, s.log_count, s.log_aux, s.log_steps, s.log_tokens, s.log_seconds = 0.0, 0, {}, 0, 0, 0.0
        self.emit("train", **fields)
        if self.board:
            self.board.write("train", s.step, fields)
        self.progress.log(fields, self.done(), getattr(self.task, "padding", None))
