"""Initialisation: modules name the role of their parameters, one law per model maps role and depth to numbers."""

from __future__ import annotations

import torch
from torch import nn

from jorip.core.random import mix_ints, salt
from jorip.core.spec import Spec


class Linear(nn.Linear):
    """`nn.Linear` that knows its role: "in" (to a sub-layer), "out" (to the residual stream), "readout", "gate"."""

    def __init__(self, d_in: int, d_out: int, bias: bool = True, role: str = "in"):
        super().__init__(d_in, d_out, bias=bias)
        self.role = role

    def reset_parameters(self) -> None:
        """The law runs once over the whole model instead."""


class Init(Spec, family=True, package="jorip.core"):
    """Family of laws. `fill(module, parameter, role, name, depth)` runs once per parameter."""

    def fill(self, p: nn.Parameter, role: str, name: str, n_sublayers: int, generator: torch.Generator) -> None:
        """Default: norms one, biases zero, everything else by `weight`."""
        if name == "bias":
            nn.init.zeros_(p)
        elif role == "norm":
            nn.init.ones_(p)
        else:
            self.weight(p, role, n_sublayers, generator)

    def weight(self, p: nn.Parameter, role: str, n_sublayers: int, generator: torch.Generator) -> None:
        raise TypeError(f"{self.kind} has no law for weights")


class Xavier(Init):
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010); embeddings N(0, 1/d), as in Vaswani et al.
    2017."""

    gain: float = 1.0

    def weight(self, p, role, n_sublayers, generator):
        if role == "embedding":
            nn.init.normal_(p, std=p.shape[-1] ** -0.5, generator=generator)
        else:
            nn.init.xavier_uniform_(p, gain=self.gain, generator=generator)


class Normal(Init):
    """N(0, std), and std / sqrt(number of residual sub-layers) for what writes to the residual stream (GPT-2)."""

    std: float = 0.02
    scale_residual: bool = True

    def weight(self, p, role, n_sublayers, generator):
        scale = n_sublayers**-0.5 if role == "out" and self.scale_residual else 1.0
        nn.init.normal_(p, std=self.std * scale, generator=generator)


@torch.no_grad()
def initialise(model: nn.Module, law: Init, n_sublayers: int, seed: int) -> None:
    """Fills every parameter from its own generator, keyed by (seed, name): adding a part does not change the others.

    A module may carry `role` (for all its parameters) or `roles` (by parameter name), or
    `reset_own(name, parameter, generator)` for what follows no law.
    """
    done: set[int] = set()
    for path, module in model.named_modules():
        if reset := getattr(module, "reset", None):
            reset()  # buffers, so that meta -> to_empty -> initialise equals a direct build
        for name, p in module._parameters.items():
            if p is None or id(p) in done:
                continue
            done.add(id(p))
            generator = torch.Generator(p.device).manual_seed(mix_ints(seed, salt(f"{path}.{name}")))
            if reset_own := getattr(module, "reset_own", None):
                reset_own(name, p, generator)
                continue
            role = getattr(module, "roles", {}).get(name) or getattr(module, "role", None)
            if role is None and isinstance(module, nn.LSTM | nn.RNN):
                _recurrent(module, p, name, generator)
            else:
                law.fill(p, role or "in", "bias" if name.startswith("bias") else name, n_sublayers, generator)


def _recurrent(module: nn.LSTM | nn.RNN, p: nn.Parameter, name: str, generator: torch.Generator) -> None:
    """Orthogonal recurrent weights per gate, Xavier input weights, an open forget gate (Jozefowicz et al. 2015)."""
    if name.startswith("weight_hh"):
        for gate in p.split(module.hidden_size):
            exact = torch.empty_like(gate, dtype=torch.promote_types(gate.dtype, torch.float32))  # QR knows no bfloat16
            gate.copy_(nn.init.orthogonal_(exact, generator=generator))
    elif name.startswith("weight_ih"):
        for gate in p.split(module.hidden_size):
            nn.init.xavier_uniform_(gate, generator=generator)
    else:
        nn.init.zeros_(p)
        if isinstance(module, nn.LSTM) and name.startswith("bias_ih"):
            p[module.hidden_size : 2 * module.hidden_size] = 1.0
