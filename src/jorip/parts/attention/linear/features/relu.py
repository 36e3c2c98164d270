"""Random ReLU features (A3.5; Choromanski et al. 2020, 2009.14794, and Peng et al. 2021, 2103.02143): f(x) = relu(w
x) sqrt( 2 / count), w ~ N(0, I): the arc-cosine kernel of order 1, E[f(q) f(k)] = |q| |k| (sin t + (pi - t) cos t) /
pi, t the angle between q and k (Cho & Saul 2009). It does not approximate softmax."""

from __future__ import annotations

from torch import Tensor

from jorip.core.site import Site
from jorip.ops.linear_attention import Features
from jorip.parts.attention.linear.features.base import FeatureModule
from jorip.parts.attention.linear.features.draws import RandomMap, RandomModule


class Relu(RandomMap):
    """As many features as directions."""

    ids = ("A3.5",)

    def build(self, site: Site) -> FeatureModule:
        return ReluFeatures(self, site)


class ReluFeatures(RandomModule):
    def features(self) -> Features:
        return Features(self.positive, self.positive)

    def positive(self, x: Tensor) -> Tensor:
        return (x @ self.directions(x).T).relu() * (2 / self.drawn[0]) ** 0.5
