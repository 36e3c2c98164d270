"""The protocol of feature maps f: with them q . k becomes f(q) . f(k) (survey Eq 15-18)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from jorip.core.site import Site
from jorip.core.spec import Spec
from jorip.ops.linear_attention import Features


class FeatureMap(Spec, family=True, package="jorip.parts.attention.linear.features"):
    """Family of feature maps."""

    def size(self, head_dim: int) -> int:
        """Features of one row and head."""
        raise TypeError(f"{self.kind} has no size")

    def macs(self, head_dim: int) -> int:
        """Multiply-accumulates of matrix products for one row and head."""
        return 0

    def build(self, site: Site) -> FeatureModule:
        raise TypeError(f"{self.kind} cannot be built")

    @classmethod
    def examples(cls) -> tuple[FeatureMap, ...]:
        return (cls(),)


class FeatureModule(nn.Module):
    """before: what is done to queries and keys (batch, heads, length, dim) once, parameters included; features: the
    rest, which is made again in the backward and has no parameters. copies: of them that `before` keeps;
    spare: of features, alive while they are made."""

    copies = spare = 0

    def before(self, x: Tensor) -> Tensor:
        return x

    def features(self) -> Features:
        raise TypeError(f"{type(self).__name__} has no features")


class Alike(FeatureModule):
    """One function for queries and keys, but for a factor of the queries."""

    def __init__(self, function: Callable[[Tensor], Tensor], factor: float = 1.0):
        super().__init__()
        self.function, self.factor = function, factor

    def features(self) -> Features:
        return Features(self.queries, self.function)

    def queries(self, x: Tensor) -> Tensor:
        y = self.function(x)
        return y if self.factor == 1 else y * self.factor
