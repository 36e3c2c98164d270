"""Deterministic parameter-free projection (A3.6; Schlag et al. 2021, 2102.11174; survey Eq 18):

    f_(i + 2 (j - 1) d)(x) = r_i r_(i + j),  r = relu([x, -x]),  i = 1 .. 2 d (around the end),  j = 1 .. nu

Few of the products are not zero, so different keys tend to be orthogonal: more room for a memory to write to.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from jorip.core.errors import Refused
from jorip.core.site import Site
from jorip.parts.attention.linear.features.base import Alike, FeatureMap, FeatureModule


class Dpfp(FeatureMap):
    """nu: 2 nu d features; at most 2 d - 1, beyond which products repeat."""

    ids = ("A3.6",)
    nu: int = Field(default=1, gt=0)

    def size(self, head_dim: int) -> int:
        return 2 * self.nu * head_dim

    def build(self, site: Site) -> FeatureModule:
        if self.nu > 2 * site.head_dim - 1:
            raise Refused(
                f"{site.path}: dpfp has {2 * site.head_dim - 1} different offsets with head_dim {site.head_dim}, "
                f"found nu={self.nu}"
            )
        return Alike(self.products)

    def products(self, x: Tensor) -> Tensor:
        r = torch.cat([x, -x], -1).relu()
        return torch.cat([r * r.roll(-j, -1) for j in range(1, self.nu + 1)], -1)
