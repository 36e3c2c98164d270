"""elu(x) + 1 (A3.1; Katharopoulos et al. 2020, 2006.16236): positive, as many features as dimensions; it does not
approximate softmax."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from jorip.core.site import Site
from jorip.parts.attention.linear.features.base import Alike, FeatureMap, FeatureModule


class Elu(FeatureMap):
    """No fields."""

    ids = ("A3.1",)

    def size(self, head_dim: int) -> int:
        return head_dim

    def build(self, site: Site) -> FeatureModule:
        return Alike(elu)


def elu(x: Tensor) -> Tensor:
    return F.elu(x) + 1
