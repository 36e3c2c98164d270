"""AdamW with the usual exceptions: biases, norms and embeddings do not decay.

Decay pulls towards zero, which is meant for maps between features. A norm's gain and a bias have no reason to be near
zero, and an embedding row that is not used in a batch would decay without a gradient.
"""

from __future__ import annotations

import torch
from torch import nn

from jorip.training.config import OptimizerConfig

NO_DECAY = ("embedding", "norm")  # roles of modules (`module.role`) whose own parameters do not decay


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Two groups, with and without decay; a tied parameter does not decay if one of its owners says so."""
    spared = {
        id(p)
        for m in model.modules()
        for p in m.parameters(recurse=False)
        if p.dim() < 2
        or getattr(m, "role", None) in NO_DECAY
        or isinstance(m, nn.Embedding | nn.LayerNorm | nn.RMSNorm | nn.GroupNorm)
    }
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) not in spared], "weight_decay": weight_decay},
        {"params": [p for p in trained if id(p) in spared], "weight_decay": 0.0},
    ]
    return [g for g in groups if g["params"]]


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW; fused runs one pass over the memory instead of about ten."""
    return torch.optim.AdamW(
        parameter_groups(model, config.weight_decay),
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=config.fused,
    )
