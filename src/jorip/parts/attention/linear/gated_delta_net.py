"""Gated DeltaNet (Yang et al. 2024, 2412.06464): S = a (I - b k k^T) S + b k v^T, y = q S / sqrt(d): the delta rule
with a decay for each row and head, a = exp(-A softplus(x w + c)), A and c learnt; then RMSNorm of each head and a
swish gate. The paper's short convolutions before q, k and v are left out."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jorip.core.site import Site
from jorip.parts.attention.linear.base import Folding
from jorip.parts.attention.linear.delta_net import Writing, unit_features
from jorip.parts.attention.linear.finish import Finish
from jorip.parts.attention.linear.rules.base import gate, only


class GatedDeltaNet(Folding):
    """gate: whether outputs are gated by swish(x W), as in the paper."""

    gate: bool = True

    def parts(self, site: Site):
        return unit_features(site.head_dim), Overwriting(site.n_kv_heads), Finish(False, self.gate)

    @classmethod
    def examples(cls):
        return (cls(chunk=3),)


class Overwriting(Writing):
    """rate: log A; start: c. Both start as in the paper's code (and Mamba 2): A uniform in 1 .. 16, softplus(c) between
    0.001 and 0.1, evenly in its logarithm."""

    kept = 4

    def __init__(self, heads: int):
        super().__init__()
        self.rate, self.start = nn.Parameter(torch.zeros(heads)), nn.Parameter(torch.zeros(heads))

    def reset_own(self, name: str, p: Tensor, generator: torch.Generator) -> None:
        if name == "rate":
            nn.init.uniform_(p, 1, 16, generator=generator).log_()
        else:
            step = nn.init.uniform_(p, math.log(1e-3), math.log(0.1), generator=generator).exp_()
            step.add_(torch.log(-torch.expm1(-step)))  # the inverse of softplus

    def streams(self, site):
        return super().streams(site) | {"decay": gate(site)}

    def entries(self, s, real):
        e = super().entries(s, real)
        x = s["decay"].to(torch.promote_types(s["decay"].dtype, torch.float32))
        rate, start = self.rate[:, None, None].to(x.dtype), self.start[:, None, None].to(x.dtype)
        return type(e)(e.weight, only(-rate.exp() * F.softplus(x + start), real), e.beta)
