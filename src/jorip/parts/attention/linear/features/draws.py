"""Random directions w for random features: rows of a (count, dim) matrix, each N(0, I) by itself.

They follow from the part's place in the model and the seed of its spec: nothing to save, nothing that a conversion to
bfloat16 could round. Orthogonal ones (2009.14794, section 2.4) have the same distribution row by row and less variance
together.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from jorip.core.kept import kept
from jorip.core.random import mix_ints, salt
from jorip.core.site import Site
from jorip.parts.attention.linear.features.base import FeatureMap, FeatureModule


class RandomMap(FeatureMap, abstract=True):
    """count: random directions; orthogonal: within each `head_dim` of them; seed: another draw."""

    count: int = Field(default=256, gt=0, le=2**20)
    orthogonal: bool = True
    seed: int = Field(default=0, ge=0, lt=2**31)

    def size(self, head_dim: int) -> int:
        return self.count

    def macs(self, head_dim: int) -> int:
        return self.count * head_dim


class RandomModule(FeatureModule):
    """All heads of a layer share their directions."""

    def __init__(self, spec: RandomMap, site: Site):
        super().__init__()
        self.drawn = spec.count, site.head_dim, mix_ints(spec.seed, salt(site.path)), spec.orthogonal

    def extra_repr(self) -> str:
        return "count={}, head_dim={}, seed={}, orthogonal={}".format(*self.drawn)

    def directions(self, like: Tensor) -> Tensor:
        """(count, head_dim), of the dtype and where `like` is."""
        return directions(*self.drawn, like.dtype, str(like.device))


@kept(256)
def directions(count: int, dim: int, seed: int, orthogonal: bool, dtype: torch.dtype, device: str) -> Tensor:
    g = torch.Generator("cpu").manual_seed(seed)
    w = torch.randn(count, dim, generator=g, dtype=torch.float64, device="cpu")
    return (orthogonalised(w) if orthogonal else w).to(device, dtype)


def orthogonalised(w: Tensor) -> Tensor:
    """Each `dim` rows turned orthogonal; lengths stay what they were, those of independent rows."""
    blocks = [torch.linalg.qr(b.T)[0].T[: len(b)] for b in w.split(w.shape[1])]
    turns = torch.cat(blocks)
    signs = torch.cat([torch.linalg.qr(b.T)[1].diagonal() for b in w.split(w.shape[1])]).sign()
    return turns * signs[:, None] * w.norm(dim=1, keepdim=True)  # the signs make the turns uniform
