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


class FeedForward(Spec, family=True, package="jorip.parts.feedforward"):
    """Family of feed-forward layers."""

    def build(self, site: Site) -> nn.Module:
        raise TypeError(f"{self.kind} cannot be built")

    def cost(self, site: Site, shape: Shape) -> Cost:
        raise TypeError(f"{self.kind} has no cost")

    @classmethod
    def examples(cls) -> tuple[FeedForward, ...]:
        return (cls(),)
