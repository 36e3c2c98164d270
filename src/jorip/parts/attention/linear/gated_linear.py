"""Gated linear attention (GLA; Yang et al. 2023, 2312.06635): S = diag(a) S + k v^T, y = q S / sqrt(d), with a decay
for each row and key channel, a = sigmoid(x W1 W2 + b)^(1 / 16); then a norm of each head and a swish gate."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field

from jorip.core.init import Linear
from jorip.core.site import Site
from jorip.ops.linear_attention import same
from jorip.ops.linear_attention_steps import Channels
from jorip.parts.attention.base import Stream
from jorip.parts.attention.linear.base import Folding
from jorip.parts.attention.linear.features.base import Alike
from jorip.parts.attention.linear.finish import Finish
from jorip.parts.attention.linear.rules.base import Entries, Rule, only

_SLOW = 16  # the root that is taken of decays, so that they start near 1


class GatedLinear(Folding):
    """rank: of W1 W2; gate: whether outputs are gated by swish(x W). 16 and yes in the paper, whose keys are half as
    wide as its values: here both are `head_dim`."""

    rank: int = Field(default=16, gt=0, le=2**16)
    gate: bool = True

    def parts(self, site: Site):
        return Alike(same, site.head_dim**-0.5), Forgetting(self.rank, site), Finish(True, self.gate)

    def entry_macs(self, site: Site) -> int:
        return self.rank * site.n_kv_heads * site.head_dim

    @classmethod
    def examples(cls):
        return (cls(rank=2, chunk=20),)


class Forgetting(Rule):
    def __init__(self, rank: int, site: Site):
        super().__init__()
        self.rank, self.heads, self.kept = rank, site.n_kv_heads, 3 * site.head_dim
        self.up = Linear(rank, site.n_kv_heads * site.head_dim)

    def streams(self, site):
        return {"decay": Stream(1, self.rank, memory=True)}

    def step(self, features):
        return Channels(features, normalised=False)

    def entries(self, s, real):
        wide = self.up(s["decay"][:, 0])  # (batch, length, heads * dim)
        wide = wide.unflatten(-1, (self.heads, wide.shape[-1] // self.heads)).transpose(1, 2)
        return Entries(real, only(F.logsigmoid(wide) / _SLOW, real))
