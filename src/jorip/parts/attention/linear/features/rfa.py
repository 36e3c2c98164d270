"""Random feature attention's map (A3.4; Peng et al. 2021, 2103.02143): f(x) = [sin w x, cos w x] of rows of length 1,
so that no factor is needed: E[f(q) f(k)] = exp(-|q - k|^2 / 2) = exp(q k) / e. w = s w', w' ~ N(0, I), s learnt."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jorip.core.site import Site
from jorip.ops.linear_attention import Features
from jorip.parts.attention.linear.features.base import FeatureModule
from jorip.parts.attention.linear.features.draws import RandomMap, RandomModule
from jorip.parts.attention.linear.features.fourier import NOISE, waves


class Rfa(RandomMap):
    """Two features for each direction. s, one number for each dimension of a head, starts at 1."""

    ids = ("A3.4",)

    def size(self, head_dim: int) -> int:
        return 2 * self.count

    def build(self, site: Site) -> FeatureModule:
        return RfaFeatures(self, site)


class RfaFeatures(RandomModule):
    role = "norm"  # starts at 1
    copies, spare = 2, 1  # brought to length 1, and weighed; products and their waves

    def __init__(self, spec: Rfa, site: Site):
        super().__init__(spec, site)
        self.width = nn.Parameter(torch.ones(site.head_dim))

    def before(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) * self.width

    def features(self) -> Features:
        return Features(self.waves, self.waves, NOISE)

    def waves(self, x: Tensor) -> Tensor:
        return waves(x, self.directions(x))
