"""The training loop: one optimizer step per global batch, and between two steps whatever is due.

    boundary: signal? evaluate? save? finished?  ->  step  ->  boundary ...

A checkpoint is always taken at a boundary, and a resume enters the loop at that boundary, so an interrupted run does
the same things in the same order as one that was not.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jorip.core.errors import ConfigError, Interrupted, NonFiniteError
from jorip.core.process_memory import ample_memory, keep_freed_memory
from jorip.core.random import mix_ints
from jorip.training import failpoints
from jorip.training.checkpoint import name_of
from jorip.training.nonfinite import first_names
from jorip.training.session import Session
from jorip.training.state import collect
from jorip.training.step import reseed
from jorip.training.tensors import not_finite
from jorip.training.update import Update

_WARM = 10  # steps after which the process has had about as much memory as it will need


@dataclass(frozen=True)
class Result:
    """What came of a run.

    reason: steps, epochs, minutes or patience. metrics: of the last evaluation. best: {"name", "step", "metric",
    "value"}. checkpoint: folder of the best.
    """

    run: Path
    reason: str
    step: int
    epoch: float
    tokens: int
    seconds: float
    metrics: dict[str, float]
    best: dict[str, Any]
    checkpoint: Path


class Loop:
    """Runs a session to its end."""

    def __init__(self, session: Session) -> None:
        self.session, self.update = session, Update(session)
        self.saved = session.state.step if session.resumed else -1
        self.saved_at = time.monotonic()

    def run(self) -> Result:
        """Trains to the end. Raises Interrupted after a signal, NonFiniteError, ResourceError."""
        run, s = self.session, self.session.state
        run.task.model.train()
        steps = 0
        while (reason := self._boundary()) is None:
            if run.epoch_end:
                s.epoch, s.batch = s.epoch + 1, 0
                run.plan = run.task.plan(s.epoch)
            self.update(run.plan[s.batch])
            steps += 1
            if steps == _WARM and ample_memory():
                keep_freed_memory()
        run.emit("end", reason=reason, step=s.step, epoch=run.epoch, tokens=s.tokens, seconds=s.seconds)
        best = s.best or {}
        checkpoint = run.checkpoints.folder / best.get("name", name_of(s.step))
        return Result(run.folder, reason, s.step, run.epoch, s.tokens, s.seconds, s.metrics or {}, best, checkpoint)

    def _boundary(self) -> str | None:
        """Whatever is due between two steps; the reason when the run is finished."""
        run, s, c = self.session, self.session.state, self.session.config
        s.seconds = run.seconds()
        stop, late = self._agree(c.minutes is not None and s.seconds >= 60 * c.minutes)
        if stop:
            self._interrupt()
        reason = None
        if c.steps is not None and s.step >= c.steps:
            reason = "steps"
        elif c.epochs is not None and s.epoch + run.epoch_end >= c.epochs:
            reason = "epochs"
        elif late:
            reason = "minutes"
        if reason and s.log_steps:
            run.log()
        if s.step > s.evaluated and (reason or _due(c.evaluate_every, s.step, run.epoch_end)):
            self._evaluate()
            if self._agree(False)[0]:
                self._interrupt()
        if c.patience is not None and s.bad >= c.patience:
            reason = reason or "patience"
        if reason or _due(c.save_every, s.step, run.epoch_end) or self._long_since_save():
            self._save()
        return reason

    def _agree(self, late: bool) -> tuple[bool, bool]:
        """Whether any rank got a signal, and whether rank 0's time is up: the same answer on all ranks."""
        run = self.session
        if run.world.size == 1:
            return run.signals.requested, late
        stop, late_first = run.world.sum(run.signals.requested, late and run.world.first)
        return stop > 0, late_first > 0

    def _long_since_save(self) -> bool:
        minutes = self.session.config.save_minutes
        return minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes

    def _interrupt(self) -> None:
        run = self.session
        self._save()
        run.world.wait()  # so that no launcher ends rank 0 while it saves
        name = run.signals.name or "a signal to another process"
        raise Interrupted(
            f"{run.folder}: stopped by {name} after step {run.state.step}; everything is saved: "
            "run the same command to go on"
        )

    def _evaluate(self) -> None:
        """Scores the weights that a checkpoint would hold, on rank 0; the others wait for the number that decides."""
        run, s = self.session, self.session.state
        metric, direction = run.task.selects
        failpoints.hit("evaluate.begin")
        start = time.perf_counter()
        samples: list[dict[str, Any]] = []
        if run.world.first:
            s.metrics, samples = self._validate(metric)
        value = run.world.share((s.metrics or {}).get(metric, math.nan))
        best = s.best["value"] if s.best else math.inf if direction == "min" else -math.inf
        better = value < best if direction == "min" else value > best
        s.evaluated, s.bad = s.step, 0 if better else s.bad + 1
        if better:
            s.best = {"name": name_of(s.step), "step": s.step, "metric": metric, "value": value}
        seconds = time.perf_counter() - start
        metrics = s.metrics or {}
        run.emit("evaluation", step=s.step, epoch=run.epoch, metrics=metrics, best=better, seconds=seconds)
        run.emit("samples", step=s.step, samples=samples)
        if run.board:
            run.board.write("validation", s.step, metrics)
        run.progress.evaluation(s.step, metrics, better)
        failpoints.hit("evaluate.end")
        if better:
            self._save()

    def _validate(self, metric: str) -> tuple[dict[str, float], list[dict[str, Any]]]:
        run = self.session
        model = run.task.model
        model.eval()
        reseed(mix_ints(run.config.seed, run.state.step, -1), run.device)
        with torch.no_grad(), run.average.applied() if run.average else nullcontext():
            metrics = {k: float(v) for k, v in run.task.validate(model).items()}
            samples = run.task.samples(model)
        model.train()
        if metric not in metrics:
            raise ConfigError(f"task.selects is {metric!r}, but validate gave {', '.join(metrics) or 'nothing'}")
        return metrics, samples

    def _save(self) -> None:
        """The checkpoint of this boundary, once; then the best is pointed at, and old ones go. On rank 0."""
        run, s = self.session, self.session.state
        if run.world.first:
            if self.saved != s.step:
                self._write()
            run.checkpoints.point_best(s.best)
            run.checkpoints.rotate(s.best_name)
        self.saved, self.saved_at = s.step, time.monotonic()

    def _write(self) -> None:
        run, s = self.session, self.session.state
        weights = dict(run.task.model.named_parameters())
        if broken := not_finite(weights):
            raise NonFiniteError(
                f"step {s.step}: weights are not finite: {first_names(broken)}. Nothing was saved; the last "
                "checkpoint is whole: lower training.optimizer.lr or training.clip in a new run"
            )
        s.events = run.events.sync() if run.events else 0
        s.seconds = run.seconds()
        s.average_updates = run.average.updates if run.average else 0
        tensors = collect(run.task.model, run.optimizer, run.average, getattr(run.task, "merged", None))
        run.checkpoints.save(s.step, tensors, {"trainer.json": s.to_json()}, run.task.artifacts, s.best_name)


def _due(every: int | str, step: int, epoch_end: bool) -> bool:
    return epoch_end if every == "epoch" else step > 0 and step % int(every) == 0
