"""Retention (RetNet; Sun et al. 2023, 2307.08621): S = g_h S + k v^T, y = q S / sqrt(d), with a fixed decay of each
head, g_h = 1 - 2^(-5 - h); then GroupNorm over each head and a swish gate. Order is also in the decay, so it needs no
positions; the paper turns q and k besides (`position: rotary`)."""

from __future__ import annotations

import torch
from torch import Tensor

from jorip.core.site import Site
from jorip.ops.linear_attention import same
from jorip.ops.linear_attention_steps import Decayed
from jorip.parts.attention.linear.base import Folding
from jorip.parts.attention.linear.features.base import Alike
from jorip.parts.attention.linear.finish import Finish
from jorip.parts.attention.linear.rules.base import Entries, Rule, only


class Retention(Folding):
    """gate: whether outputs are gated by swish(x W), a projection more, as in the paper."""

    gate: bool = True

    def parts(self, site: Site):
        return Alike(same, site.head_dim**-0.5), Fading(site.n_kv_heads), Finish(True, self.gate)

    @classmethod
    def examples(cls):
        return (cls(chunk=3),)


class Fading(Rule):
    """heads: their decays are 1 - 2^-5, 1 - 2^-6 ..., and repeat after twelve: 1 - 2^-17 is nearly 1."""

    kept = 1

    def __init__(self, heads: int):
        super().__init__()
        self.heads = heads

    def step(self, features):
        return Decayed(features, normalised=False)

    def entries(self, s: dict[str, Tensor], real: Tensor | None):
        v = s["v"]
        power = -5.0 - torch.arange(self.heads, dtype=torch.float64, device=v.device) % 12
        log = torch.log1p(-torch.exp2(power)).to(torch.promote_types(v.dtype, torch.float32))
        return Entries(real, only(log[:, None, None].expand(*v.shape[:3], 1), real))
