"""What can be said of a variant without training it, and the peak memory of a step."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jorip.architectures.base import Architecture, Model
from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.core.cost import Cost, Shape
from jorip.core.errors import ConfigError
from jorip.core.process_memory import give_back_memory
from jorip.tasks.base import Task
from jorip.training.distributed import World
from jorip.training.split import micro_batches
from jorip.training.step import Gradients

LENGTHS = 64  # of the training data, at even ranks, that costs are averaged over
_STATUS = Path("/proc/self/status")
_PEAK = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Sizes:
    """lengths: of examples at even ranks, in tokens; tokens_per_step: mean over the first epoch."""

    lengths: list[int]
    tokens_per_step: float

    @classmethod
    def of(cls, task: Task) -> Sizes:
        ordered = task.sizes.sort().values
        ranks = torch.linspace(0, len(ordered) - 1, min(LENGTHS, len(ordered))).round().long()
        plan = task.plan(0)
        tokens = sum(int(task.sizes[ids].sum()) for ids in plan)
        return cls(ordered[ranks].tolist(), tokens / max(len(plan), 1))

    def shape(self, spec: Architecture, length: int) -> Shape:
        """Of one example; of a translation's tokens half are the source's."""
        half = max(1, length // 2)
        return Shape(1, half, half) if isinstance(spec, EncoderDecoder) else Shape(1, max(1, length))


def flops_per_token(spec: Architecture, sizes: Sizes) -> float:
    """Of a forward pass, by the cost model: all examples' operations over all their tokens."""
    total = sum(sum(spec.costs(sizes.shape(spec, n)).values(), Cost()).flops for n in sizes.lengths)
    return total / max(sum(sizes.lengths), 1)


def state_bytes(spec: Architecture, sizes: Sizes) -> int | None:
    """What decoding one sequence of the longest length holds; None where the model is not causal."""
    model = spec.build(device="meta")
    try:
        state = model.new_state(1)
    except ConfigError:
        return None
    if not state.parts:
        return None
    total = sum(spec.costs(sizes.shape(spec, max(sizes.lengths))).values(), Cost())
    return total.state * model.dtype.itemsize


def with_model(task: Task, model: Model) -> Task:
    """The same task with another model."""
    other = copy.copy(task)
    other.model = model
    return other


def gradients(task: Task) -> Gradients:
    c = task.config.training
    return Gradients(task, task.model, World(), torch.device("cpu"), c.seed, c.label_smoothing, c.precision)


def parts_of(task: Task, ids: Sequence[int]) -> list[list[int]]:
    """A global batch as training cuts it."""
    return micro_batches(list(ids), task.sizes[list(ids)].tolist(), task.config.training.micro_tokens)


def try_out(task: Task, specs: Sequence[Architecture], labels: Sequence[str]) -> None:
    """A forward and backward pass of two examples through every model, for what composing cannot know. Raises
    ConfigError that names all that refuse."""
    ids, refused = task.sizes.argsort()[:2].tolist(), []
    for spec, label in zip(specs, labels):
        mine = with_model(task, spec.build(seed=0).train())
        try:
            gradients(mine)([ids], ids[:1], 0, 1)
        except ConfigError as e:
            refused.append(f"  {label}: {e}")
    if refused:
        raise ConfigError(
            f"{len(refused)} of {len(specs)} variants refuse these data; nothing was trained:\n" + "\n".join(refused)
        )


def peak_of_a_step(task: Task) -> int | None:
    """Bytes that the process grows by in a forward and backward pass of the largest batch of the first epoch (padded):
    activations, gradients and working space; AdamW's moments come on top, 8 bytes a parameter for all alike. None
    where the system does not say. Weights and buffers are left as they are."""
    ids = max(task.plan(0), key=lambda ids: len(ids) * int(task.sizes[ids].max()))
    run, model = gradients(task), task.model.train()
    with unchanged(model):
        run([[min(ids, key=lambda i: int(task.sizes[i]))]], ids[:1], 0, 1)  # the first call allocates what then stays
        model.zero_grad()
        grown = growth(lambda: run(parts_of(task, ids), ids[:1], 0, 1))
        model.zero_grad()
    return grown


@contextmanager
def unchanged(model: Model) -> Iterator[None]:
    """Buffers, which a forward pass in training mode may move."""
    before = [(b, b.clone()) for b in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, kept in before:
                buffer.copy_(kept)


def growth(work: Callable[[], Any]) -> int | None:
    """By how many bytes resident memory grew at most while `work` ran. None where the system keeps no resettable peak
    (others than Linux)."""
    gc.collect()
    give_back_memory()  # what was freed before would hide what is needed now
    try:
        before = resident("VmRSS")
        _PEAK.write_text("5", encoding="ascii")
    except OSError:
        work()
        return None
    work()
    return max(0, resident("VmHWM") - before)


def resident(name: str) -> int:
    """VmRSS, now, or VmHWM, its peak, in bytes."""
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))
