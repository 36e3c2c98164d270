"""AdamW with the usual exceptions: biases, norms and embeddings do not decay; and what is frozen or learns slower.

Decay pulls towards zero, which is meant for maps between features. A norm's gain and a bias have no reason to be near
zero, and an embedding row that is not used in a batch would decay without a gradient.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import nn

from jorip.core.errors import ConfigError, did_you_mean
from jorip.training.config import OptimizerConfig

NO_DECAY = ("embedding", "norm")  # roles of modules (`module.role`) whose own parameters do not decay


_LAYER = re.compile(r"(.*?)layers\.(\d+)\.")
_BELOW = re.compile(r"(^|\.)(embedding|position)\.")


def freeze(model: nn.Module, paths: Iterable[str]) -> None:
    """What lies at or below these public paths is not trained. Raises ConfigError for a path that holds no parameter,
    with the closest, and when nothing is left to train."""
    for path in paths:
        found = [p for n, p in model.named_parameters(remove_duplicate=False) if n == path or n.startswith(path + ".")]
        if not found:
            known = [n for n, m in model.named_modules() if n and next(m.parameters(), None) is not None]
            raise ConfigError(f"training.freeze: there is no parameter at {path!r}{did_you_mean(path, known)}")
        for p in found:
            p.requires_grad_(False)
    if not any(p.requires_grad for p in model.parameters()):
        raise ConfigError("training.freeze: every parameter is frozen: nothing is left to train")


def rates(model: nn.Module, layer_decay: float | None) -> dict[int, float]:
    """id of a parameter -> its share of the learning rate: layer_decay to the power of the layers above it in its
    stack; the embedding lies below all layers, what is in no stack above them."""
    names = dict(model.named_parameters())
    if layer_decay is None:
        return dict.fromkeys(map(id, names.values()), 1.0)
    heights: dict[str, int] = {}
    for name in names:
        if m := _LAYER.match(name):
            heights[m[1]] = max(heights.get(m[1], 0), int(m[2]) + 1)
    shares = {}
    for name, p in names.items():
        above = 0
        if m := _LAYER.match(name):
            above = heights[m[1]] - int(m[2])
        elif m := _BELOW.search(name):
            above = heights.get(name[: m.start(2)], 0) + 1
        shares[id(p)] = layer_decay**above
    return shares


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float | None = None) -> list[dict]:
    """Groups with and without decay, for each learning rate (`scale`: its share of the schedule's); a tied parameter
    does not decay if one of its owners says so."""
    spared = {
        id(p)
        for m in model.modules()
        for p in m.parameters(recurse=False)
        if p.dim() < 2
        or getattr(m, "role", None) in NO_DECAY
        or isinstance(m, nn.Embedding | nn.LayerNorm | nn.RMSNorm | nn.GroupNorm)
    }
    trained = [p for p in model.parameters() if p.requires_grad]
    share = rates(model, layer_decay)
    groups = []
    for scale in sorted({share[id(p)] for p in trained}, reverse=True):
        mine = [p for p in trained if share[id(p)] == scale]
        groups += [
            {"params": [p for p in mine if id(p) not in spared], "weight_decay": weight_decay, "scale": scale},
            {"params": [p for p in mine if id(p) in spared], "weight_decay": 0.0, "scale": scale},
        ]
    return [g for g in groups if g["params"]]


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW; fused runs one pass over the memory instead of about ten."""
    return torch.optim.AdamW(
        parameter_groups(model, config.weight_decay, config.layer_decay),
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=config.fused,
    )
