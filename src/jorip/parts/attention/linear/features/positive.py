"""Positive random features, FAVOR+ (A3.3; Choromanski et al. 2020, 2009.14794): f(x) = exp(w x - |x|^2 / 2), w ~ N(0,
I) per feature; E[f(q) f(k)] = exp(q k), never negative. q and k are scaled by d^(-1/4), as softmax scales their
product."""

from __future__ import annotations

from torch import Tensor

from jorip.core.site import Site
from jorip.ops.linear_attention import Features
from jorip.parts.attention.linear.features.base import FeatureModule
from jorip.parts.attention.linear.features.draws import RandomMap, RandomModule

_LARGEST = 64.0  # of the exponents of keys: sums of e^64 stay far inside float32


class Positive(RandomMap):
    """As many features as directions."""

    ids = ("A3.3",)

    def build(self, site: Site) -> FeatureModule:
        return PositiveFeatures(self, site)


class PositiveFeatures(RandomModule):
    """Exact in the quotient: a query is divided by its own largest feature, and all keys of the layer by one constant,
    which depends on no key (a maximum over them would look at later ones)."""

    def features(self) -> Features:
        return Features(self.queries, self.keys)

    def logarithms(self, x: Tensor) -> Tensor:
        """(..., count): w x - |x|^2 / 2 of the scaled x."""
        return self.products(x) - x.square().sum(-1, keepdim=True) * (x.shape[-1] ** -0.5 / 2)

    def queries(self, x: Tensor) -> Tensor:
        w = self.products(x)
        return w.sub_(w.detach().amax(-1, keepdim=True)).exp_()  # in place: nothing before is needed by the backward

    def keys(self, x: Tensor) -> Tensor:
        less = x.square().sum(-1, keepdim=True) * (-(x.shape[-1] ** -0.5) / 2)
        # in place: nothing before is needed by the backward, which makes no second gradient of this size to negate it
        return self.products(x).add_(less - self.shift(x)).exp_()

    def products(self, x: Tensor) -> Tensor:
        return x @ (self.directions(x) * x.shape[-1] ** -0.25).T

    def shift(self, x: Tensor) -> Tensor:
        """w x - |x|^2 / 2 is at most |w|^2 / 2: what that may be above `_LARGEST`."""
        return (self.directions(x).square().sum(-1).amax() / 2 - _LARGEST).clamp(min=0)
