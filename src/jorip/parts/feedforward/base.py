"""The protocol of feed-forwards: forward(Rows, ctx) -> (rows, width)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from jorip.core.cost import Cost, Shape
from jorip.core.site import Site
from jorip.core.spec import Spec

Activation = Literal["relu", "gelu", "gelu_tanh", "swish", "sigmoid", "identity"]


def activate(name: Activation, x: Tensor) -> Tensor:
    """relu, exact gelu (1606.08415), its tanh form (GPT-2), swish (= SiLU, 1710.05941, beta 1), sigmoid, identity."""
    match name:
        case "relu":
            return F.relu(x)
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "swish":
            return F.silu(x)
        case "sigmoid":
            return x.sigmoid()
        case "identity":
            return x


def keeps(name: Activation, dropout: float) -> int:
    """Of a hidden row's copies, how many training keeps: what the activation saves (its result, its input, or nothing),
    and what the next product reads; dropout adds its mask."""
    own = {"relu": 1, "sigmoid": 1, "identity": 0}.get(name, 1)
    shared = name in ("relu", "sigmoid") and not dropout  # the result is what the product reads
    return own + (0 if shared else 1) + (1 if dropout else 0)


class FeedForward(Spec, family=True, package="jorip.parts.feedforward"):
    """Family of feed-forward layers."""

    def build(self, site: Site) -> nn.Module:
        raise TypeError(f"{self.kind} cannot be built")

    def cost(self, site: Site, shape: Shape) -> Cost:
        raise TypeError(f"{self.kind} has no cost")

    @classmethod
    def examples(cls) -> tuple[FeedForward, ...]:
        return (cls(),)
