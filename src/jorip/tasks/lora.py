"""LoRA (Hu et al. 2021, 2106.09685): W + (alpha / rank) B A, with W frozen and only A and B trained; by `peft`.

A run's checkpoints keep A and B beside the rest of the trainer's state; `model.safetensors` has the merged weights, so
that every folder of a run is an ordinary model.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from jorip.core.errors import ConfigError, did_you_mean
from jorip.core.init import Linear


class LoraConfig(BaseModel):
    """rank: of the update; alpha: its scale times the rank; dropout: of the update's input; targets: names of the
    linear maps that get one (q and v in the paper; k, out, up, gate, down are others)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1, strict=False)
    targets: tuple[str, ...] = Field(default=("q", "v"), min_length=1, strict=False)


def inject(model: nn.Module, config: LoraConfig, seed: int) -> None:
    """Adds the updates, at first zero; freezes everything else but the readouts. Raises ConfigError for targets
    that the model has not, and when peft is not installed."""
    try:
        import peft
    except ImportError:
        raise ConfigError("model.lora needs the package peft: pip install 'jorip[lora]'") from None
    known = sorted({n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, Linear)} - {""})
    for target in config.targets:
        if target not in known:
            raise ConfigError(
                f"model.lora.targets: there is no linear map called {target!r}{did_you_mean(target, known)}"
            )
    names = [
        n
        for n, m in model.named_modules()
        if isinstance(m, Linear) and n.rpartition(".")[2] in config.targets and "readout" not in n.split(".")
    ]
    lora: Any = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=names,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(lora, model)
    for name, p in model.named_parameters():
        p.requires_grad_("lora_" in name or "readout" in name.split("."))


def merged(model: nn.Module) -> dict[str, Tensor]:
    """The state of the model that this one stands for: updates added to their maps, under the maps' own names."""
    from peft.tuners.lora import LoraLayer

    updates: dict[str, Any] = {n: m for n, m in model.named_modules() if isinstance(m, LoraLayer)}
    state = {}
    for name, t in model.state_dict().items():
        if ".lora_" in name:
            continue
        owner, inside, leaf = name.rpartition(".base_layer.")
        if inside and leaf == "weight":
            t = t + updates[owner].get_delta_weight("default").to(t.dtype)
        state[f"{owner}.{leaf}" if inside else name] = t
    return state
