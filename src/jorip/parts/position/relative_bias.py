"""Relative position bias (P2.4, T5): softmax(Q K^T + B), B[h, i, j] = table[bucket(j - i), h] (Raffel et al. 2019,
1910.10683).

Nearby offsets have a bucket each, far ones share buckets that grow logarithmically up to `max_distance`; whatever is
farther is in the last. A stack that sees both ways gives each direction half of the buckets.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from jorip.core.errors import Refused
from jorip.core.site import Site
from jorip.parts.position.base import Position, PositionModule


class RelativeBias(Position):
    """One table per stack, shared by its layers. buckets: rows of the table; max_distance: from where on all offsets
    are one bucket (32 and 128 as in all T5 checkpoints)."""

    ids = ("P2.4",)
    buckets: int = Field(default=32, ge=2, le=2**20)
    max_distance: int = Field(default=128, gt=0, le=2**28)

    def check(self, site: Site) -> None:
        exact = self.buckets // (2 if site.causal else 4)
        if exact < 1:
            raise Refused(f"{site.path}: a stack that sees both ways needs at least 4 buckets, found {self.buckets}")
        if self.max_distance <= exact:
            raise Refused(
                f"{site.path}: max_distance must be above {exact}, up to where each of the {self.buckets} buckets is "
                f"one offset, found {self.max_distance}"
            )

    def build(self, site: Site) -> RelativeBiasPosition:
        self.check(site)
        return RelativeBiasPosition(self.buckets, self.max_distance, site.n_heads, site.causal, site.d_model)

    @classmethod
    def examples(cls):
        return (cls(), cls(buckets=6, max_distance=5))


class RelativeBiasPosition(PositionModule):
    def __init__(self, buckets: int, max_distance: int, n_heads: int, causal: bool, width: int):
        super().__init__()
        self.max_distance, self.causal, self.width = max_distance, causal, width
        self.weight = nn.Parameter(torch.zeros(buckets, n_heads))

    def extra_repr(self) -> str:
        return f"buckets={len(self.weight)}, max_distance={self.max_distance}, causal={self.causal}"

    def reset_own(self, name: str, p: Tensor, generator: torch.Generator) -> None:
        nn.init.normal_(p, std=self.width**-0.5, generator=generator)  # as T5, whatever the model's law

    def bias(self, q_at, k_at, ctx):
        # no row is farther from a key, even where a state holds only some; holes of the grid may be, and do not matter
        far = max(k_at.longest, int(q_at.total.max()) if q_at.batch else 0, 1) - 1
        every = torch.arange(-far, far + 1, device=self.weight.device)
        line = F.embedding(bucket(every, len(self.weight), self.max_distance, self.causal), self.weight)
        offsets = (k_at.grid_order[:, None, :] - q_at.grid_order[:, :, None]).clamp(min=-far) + far
        return line.t().index_select(1, offsets.reshape(-1)).unflatten(1, offsets.shape).transpose(0, 1)


def bucket(offset: Tensor, buckets: int, max_distance: int, causal: bool) -> Tensor:
    """Offsets j - i (int64) -> rows of the table, same shape. Half of a direction's buckets are one offset each.

    The logarithm is taken in float32, as in T5's own code, so that offsets on an edge fall where they fell in training.
    """
    if causal:
        first, distance = 0, (-offset).clamp(min=0)
    else:
        buckets //= 2
        first, distance = (offset > 0) * buckets, offset.abs()
    exact = buckets // 2
    far = (distance.clamp(min=1).float() / exact).log() / math.log(max_distance / exact) * (buckets - exact)
    return first + torch.where(distance < exact, distance, exact + far.long()).clamp(max=buckets - 1)
