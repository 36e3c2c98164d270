"""Random Fourier features, FAVOR (A3.2; Choromanski et al. 2020, 2006.03555; survey Eq 17): f(x) = exp(|x|^2 / 2) [sin
w x, cos w x], w ~ N(0, I); E[f(q) f(k)] = exp(q k), but a draw may be negative. q and k are scaled by d^(-1/4)."""

from __future__ import annotations

import torch
from torch import Tensor

from jorip.core.site import Site
from jorip.ops.linear_attention import Features
from jorip.parts.attention.linear.features.base import FeatureModule
from jorip.parts.attention.linear.features.draws import RandomMap, RandomModule

NOISE = 0.1  # a denominator below this is noise: the numbers that it estimates are positive


class Fourier(RandomMap):
    """Two features for each direction."""

    ids = ("A3.2",)

    def size(self, head_dim: int) -> int:
        return 2 * self.count

    def build(self, site: Site) -> FeatureModule:
        return FourierFeatures(self, site)


class FourierFeatures(RandomModule):
    """The factor of queries, which cancels in the quotient, is left out."""

    spare = 1  # products and their waves

    def features(self) -> Features:
        return Features(self.queries, self.keys, NOISE)

    def queries(self, x: Tensor) -> Tensor:
        return waves(x * x.shape[-1] ** -0.25, self.directions(x))

    def keys(self, x: Tensor) -> Tensor:
        x = x * x.shape[-1] ** -0.25
        return waves(x, self.directions(x)) * (x.square().sum(-1, keepdim=True) / 2).exp()


def waves(x: Tensor, directions: Tensor) -> Tensor:
    """[sin w x, cos w x] / sqrt(count), whose products are those of a shift-invariant kernel: E = exp(-|x - y|^2 /
    2)."""
    w = x @ directions.T
    return torch.cat([w.sin(), w.cos()], -1) * len(directions) ** -0.5
