"""Seconds of a training step, of several models on the same batches, in turn, so that whatever else the machine does
meets all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from jorip.architectures.base import Architecture
from jorip.compare.measure import gradients, parts_of, with_model
from jorip.core.process_memory import ample_memory, keep_freed_memory
from jorip.tasks.base import Task
from jorip.training.optimizer import build_optimizer

BATCHES = 6  # at even places of the first epoch, so that long and short ones are among them
ROUNDS = 5


def seconds_per_step(task: Task, specs: Sequence[Architecture]) -> list[float]:
    """For each model the median over the rounds of the mean over the batches; a first round is not counted. The process
    then keeps the memory that it frees, as one that trains does."""
    plan = task.plan(0)
    batches = [plan[i * len(plan) // BATCHES] for i in range(min(BATCHES, len(plan)))]
    steppers = [Stepper(with_model(task, s.build(seed=0))) for s in specs]
    with as_in_training(task.config.training.deterministic):
        for s in steppers:
            s(batches)
        if ample_memory():
            keep_freed_memory()
        rounds = [[s(batches) for s in steppers] for _ in range(ROUNDS)]
    return [statistics.median(times) for times in zip(*rounds)]


class Stepper:
    """Does what training does in a step."""

    def __init__(self, task: Task) -> None:
        self.task, self.gradients = task, gradients(task)
        self.optimizer = build_optimizer(task.model, task.config.training.optimizer)
        self.parameters = [p for p in task.model.parameters() if p.requires_grad]

    def __call__(self, batches: list[list[int]]) -> float:
        """Mean seconds."""
        self.task.model.train()
        start = time.perf_counter()
        for number, ids in enumerate(batches, 1):
            self.gradients(parts_of(self.task, ids), ids[:1], 0, number)
            if (clip := self.task.config.training.clip) is not None:
                nn.utils.clip_grad_norm_(self.parameters, clip)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return (time.perf_counter() - start) / len(batches)


@contextmanager
def as_in_training(deterministic: bool) -> Iterator[None]:
    """torch's deterministic algorithms, which may take longer."""
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
