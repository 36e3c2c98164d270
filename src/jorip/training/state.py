"""Where a run stands: everything a resume needs besides weights and optimizer tensors. Plain numbers, kept as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from jorip.core.errors import CheckpointError
from jorip.training.average import Average

Merged = Callable[[nn.Module], dict[str, Tensor]]


@dataclass
class State:
    """step: optimizer steps done. epoch, batch: the next batch to do. evaluated: step of the last evaluation.

    best: {"name", "step", "metric", "value"}. bad: evaluations in a row without a new best. skipped: non-finite steps.
    micro_tokens: the present limit, after any halving. events: length of events.jsonl. log_*: since the last log line.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    tokens: int = 0
    seconds: float = 0.0
    evaluated: int = 0
    metrics: dict[str, float] | None = None
    best: dict[str, Any] | None = None
    bad: int = 0
    skipped: int = 0
    micro_tokens: int | None = None
    events: int = 0
    average_updates: int = 0
    log_loss: float = 0.0
    log_count: int = 0
    log_aux: dict[str, float] = field(default_factory=dict)
    log_steps: int = 0
    log_tokens: int = 0
    log_seconds: float = 0.0
    lr: float = 0.0
    grad_norm: float = 0.0

    @property
    def best_name(self) -> str | None:
        return self.best["name"] if self.best else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> State:
        known = {f.name for f in fields(State)}
        if data.keys() != known:
            raise CheckpointError(
                f"trainer.json: has other fields than this version's ({', '.join(sorted(data.keys() ^ known))}): "
                "finish the run with the version that began it (run.json names it)"
            )
        data["log_aux"] = data["log_aux"] or {}  # 0.0 in version 0.1.0
        return State(**data)


def collect(
    model: nn.Module, optimizer: torch.optim.Optimizer, average: Average | None, merged: Merged | None = None
) -> dict[str, dict[str, Tensor]]:
    """Tensors of a checkpoint by file. With averaging, `model.safetensors` has the averages: they are what is used.
    merged: makes the weights that are used where they are not those that are trained."""
    weights: dict[str, Tensor] = dict(model.state_dict())
    trainer: dict[str, Tensor] = {}
    if merged is not None:
        trainer |= {f"weights/{n}": p for n, p in model.named_parameters() if p.requires_grad}
        weights = merged(model)
    elif average is not None:
        trainer |= {f"weights/{n}": average.weights[n] for n in average.average}
        place = {p.data_ptr(): average.average[n] for n, p in average.weights.items()}
        weights = {n: place.get(t.data_ptr(), t) for n, t in weights.items()}
    for name, p in model.named_parameters():
        for key, value in optimizer.state.get(p, {}).items():
            trainer[f"optimizer/{name}/{key}"] = value
    return {"model.safetensors": weights, "trainer.safetensors": trainer}


@torch.no_grad()
def restore(
    trainer: dict[str, Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    merged: Merged | None = None,
) -> None:
    """Puts optimizer state and averages back, after `load_weights` has filled the model; where weights are merged, the
    trained ones, the others being as the task made them."""
    parameters = dict(model.named_parameters())
    if merged is not None:
        for name, p in parameters.items():
            if p.requires_grad:
                p.copy_(trainer[f"weights/{name}"])
    elif average is not None:
        for name, p in parameters.items():
            average.average[name].copy_(p)
            p.copy_(trainer[f"weights/{name}"])
    for full, value in trainer.items():
        if full.startswith("optimizer/"):
            name, _, key = full.removeprefix("optimizer/").rpartition("/")
            p = parameters[name]
            # as torch.optim does: the step counter of fused AdamW lives where the parameter lives
            optimizer.state[p][key] = value.to(p.device)
