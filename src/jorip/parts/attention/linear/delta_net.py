"""DeltaNet (Yang et al. 2024, 2406.06484): S = (I - b k k^T) S + b k v^T, y = q S / sqrt(d), with q and k after SiLU
brought to length 1, b = sigmoid(x w + c) for each row and head; then RMSNorm of each head. The paper's short
convolutions before q, k and v are left out.

Unlike the delta rule of A3.9 there is no division by a sum of features, and no feature map besides.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jorip.core.site import Site
from jorip.parts.attention.linear.base import Folding
from jorip.parts.attention.linear.features.base import Alike
from jorip.parts.attention.linear.finish import Finish
from jorip.parts.attention.linear.rules.delta import Writing


class DeltaNet(Folding):
    """gate: whether outputs are gated by swish(x W), which the paper leaves out."""

    gate: bool = False

    def parts(self, site: Site):
        return unit_features(site.head_dim), Writing(), Finish(False, self.gate)

    @classmethod
    def examples(cls):
        return (cls(chunk=3, gate=True),)


def unit_features(dim: int) -> Alike:
    """silu(k) / |silu(k)|, and the same of q over sqrt(dim)."""
    return Alike(unit, dim**-0.5)


def unit(x: Tensor) -> Tensor:
    """silu(x) / |silu(x)|; what is next to zero stays so, with finite gradients."""
    x = F.silu(x)
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)
