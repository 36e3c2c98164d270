"""Random attention (A1.4, survey 4.1.1): a few random keys for each query, drawn once by a hash of (seed, head, query),
so that nothing else in the batch and no padding changes them."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from jorip.core.random import mix
from jorip.parts.attention.patterns.base import Pairs, Pattern, Tile


class Random(Pattern):
    """count: keys of each query and head, drawn with repetition among all rows, in a causal stack among those up to the
    query; seed: another one, another graph. Inside `Blocked` they are whole blocks."""

    ids = ("A1.4",)
    count: int = Field(default=3, gt=0, le=2**16)
    seed: int = Field(default=0, ge=0, lt=2**31)

    @property
    def uses_length(self):
        return True

    def draws(self, q: Tensor, n: Tensor, head: Tensor, seed: int, causal: bool) -> Tensor:
        """(..., count): the keys of queries q; q, n and head broadcast together."""
        q, n, head = torch.broadcast_tensors(q, n, head)
        keys = mix(q.to(torch.int32) ^ mix(head.to(torch.int32), 0x51ED27), self.seed ^ seed)
        slot = torch.arange(self.count, device=q.device, dtype=torch.int32)
        bits = mix(keys[..., None] ^ mix(slot, 0x2545F49), 0x9E3779B).to(torch.int64) & 0x7FFFFFFF
        return bits % (q + 1 if causal else n.clamp(min=1))[..., None]

    def allow(self, p: Pairs):
        return (self.draws(p.q, p.n, p.head, p.seed, p.causal) == p.k[..., None]).any(-1)

    @property
    def edges(self):
        return self.count

    def scatter(self, t: Tile):
        return self.draws(t.first, t.n, t.head, t.seed, t.causal)

    @classmethod
    def examples(cls):
        return (cls(count=2),)
