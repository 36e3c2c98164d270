"""The gradient of one global batch, the same however it is cut into micro-batches and processes.

    loss = sum over all loss terms of the global batch / their number  +  auxiliary losses, weighted by that number

Each micro-batch adds its sum divided by the *global* count, so no mean of means is ever taken. Under DDP, which
averages over ranks, the sum is multiplied by their number; gradients travel once, with the last micro-batch.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jorip.core.layout import Packed
from jorip.core.random import Key, mix_ints
from jorip.training import failpoints
from jorip.training.distributed import World
from jorip.training.precision import autocast
from jorip.training.protocol import Batch, Task


class Summed(NamedTuple):
    """loss: sum over the terms of all ranks, aux: auxiliary losses (means) by kind, 0-d tensors. count: terms of all
    ranks."""

    loss: Tensor
    aux: dict[str, Tensor]
    count: int


class Gradients:
    """Adds a global batch's gradient to the parameters. `model` is task.model, or DDP around it."""

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        world: World,
        device: torch.device,
        seed: int,
        smoothing: float,
        precision: str,
    ) -> None:
        self.task, self.model, self.world, self.device = task, model, world, device
        self.seed, self.smoothing, self.precision = seed, smoothing, precision

    def __call__(self, parts: list[list[int]], spare: list[int], epoch: int, step: int) -> Summed:
        """parts: this rank's micro-batches. spare: examples that a rank without any runs at weight zero, because the
        others wait for it."""
        weight = 1.0 if parts else 0.0
        batches = [self.task.batch(ids, epoch) for ids in parts or [spare]]
        counts = [self.task.count(b) if parts else 0 for b in batches]
        count = int(self.world.sum(sum(counts))[0])
        loss, aux = torch.zeros((), device=self.device), {}
        for i, batch in enumerate(batches):
            failpoints.hit("step.micro")
            last = i == len(batches) - 1
            with self._quiet(last):
                terms, extra = self.forward(batch, counts[i] if parts else None, Key(self.seed, step), i)
                share = counts[i] / max(count, 1)
                mean = terms * (weight / max(count, 1))
                total = mean + sum(extra.values()) * share if extra else mean
                (total * self.world.size).backward()
            loss = loss + terms.detach() * weight
            for kind, value in extra.items():
                aux[kind] = aux.get(kind, 0.0) + value.detach() * share
        return self._everywhere(loss, aux, count)

    def forward(self, batch: Batch, count: int | None, key: Key, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of the loss terms, and the auxiliary losses, those of one kind (the last part of their path) summed."""
        if self.device.type != "cpu":
            batch = {name: Packed(*(t.to(self.device, non_blocking=True) for t in p)) for name, p in batch.items()}
        # Parts of ours draw by hash. Foreign modules that draw from torch's generator are still exactly resumable, and
        # cannot be disturbed by an evaluation, when it is set anew for each forward.
        reseed(mix_ints(key.seed, key.step, index, self.world.rank), self.device)
        with autocast(self.precision, self.device):
            terms, counted, extras = self.task.loss(self.model, batch, key, self.smoothing)
        if count is not None and isinstance(counted, int) and counted != count:
            raise RuntimeError(f"task.count gave {count} loss terms and task.loss {counted}: the mean would be wrong")
        kinds: dict[str, Tensor] = {}
        for name, value in sorted(extras.items()):
            kind = name.rpartition(".")[2]
            kinds[kind] = kinds[kind] + value if kind in kinds else value
        return terms, kinds

    def _quiet(self, last: bool):
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()

    def _everywhere(self, loss: Tensor, aux: dict[str, Tensor], count: int) -> Summed:
        if self.world.size > 1:
            totals = torch.tensor(self.world.sum(float(loss), *map(float, aux.values())), dtype=torch.float64)
            return Summed(totals[0], dict(zip(aux, totals[1:])), count)
        return Summed(loss, aux, count)


def reseed(seed: int, device: torch.device) -> None:
    """Sets torch's generators of the devices in use; `torch.manual_seed` would look at every backend on each step."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
