"""What is found out once, before the first step, and then belongs to the run (`measured` in run.json)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch

from jorip.core.random import Key
from jorip.training.config import TrainConfig
from jorip.training.distributed import World
from jorip.training.memory import out_of_memory
from jorip.training.precision import choose
from jorip.training.protocol import Task
from jorip.training.split import micro_batches
from jorip.training.step import Gradients


class Measure:
    """Called once, on rank 0. `ids` is the first global batch; weights, buffers and gradients are left as they were."""

    def __init__(self, task: Task, config: TrainConfig, ids: list[int], device: torch.device, world: World) -> None:
        self.task, self.config, self.device, self.world = task, config, device, world
        sizes = task.sizes[ids].tolist()
        self.ids = micro_batches(ids, sizes, config.micro_tokens)[0]
        self.shortest = [ids[sizes.index(min(sizes))]]

    def __call__(self) -> dict[str, Any]:
        """{"threads", "processes", "device", "precision", "why", "unused_parameters"}."""
        torch.set_num_threads(self.config.threads or torch.get_num_threads())
        return {
            "threads": torch.get_num_threads(),
            "processes": self.world.size,
            "device": self.device.type,
            **self._precision(),
            "unused_parameters": self.world.size > 1 and self._unused(),
        }

    def _precision(self) -> dict[str, str]:
        while True:
            try:
                return choose(self.config.precision, self.device, lambda context: self._run(self.ids, context))
            except (RuntimeError, MemoryError) as e:
                if not out_of_memory(e):
                    raise
            if len(self.ids) == 1:  # the first step says which example, and what to do
                return {"precision": "fp32", "why": "not measured: one example alone does not fit into memory"}
            self.ids = self.ids[: len(self.ids) // 2]

    def _unused(self) -> bool:
        """Whether some parameter gets no gradient: then DDP has to look for them, which costs a walk over the graph."""
        try:
            self._run(self.shortest, torch.enable_grad(), keep=True)
        except (RuntimeError, MemoryError) as e:
            if not out_of_memory(e):
                raise
            self.task.model.zero_grad()
            return True
        unused = any(p.grad is None for p in self.task.model.parameters() if p.requires_grad)
        self.task.model.zero_grad()
        return unused

    def _run(self, ids: list[int], context: AbstractContextManager, keep: bool = False) -> None:
        """A forward and backward of the bare model; `keep` keeps the gradients."""
        model, seed = self.task.model, self.config.seed
        probe = Gradients(self.task, model, World(), self.device, seed, self.config.label_smoothing, "fp32")
        buffers = [(b, b.clone()) for b in model.buffers()]
        model.train()
        try:
            with context:
                terms, aux = probe.forward(self.task.batch(ids, 0), None, Key(seed, 0), 0)
            sum(aux.values(), terms).backward()
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            if not keep:
                model.zero_grad()
