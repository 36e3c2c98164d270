"""Linear attention (survey 4.2, Eq 15-16) with any feature map and any aggregation rule.

Maps: elu + 1 (A3.1), fourier (A3.2), positive (A3.3), rfa (A3.4), relu (A3.5), dpfp (A3.6); rules: sum (A3.7), gated
(A3.8), delta (A3.9). O(T F d) time for F features, O(T) memory in training, O(F d) in decoding. Katharopoulos et al.
2020, 2006.16236, is `features: elu`, `rule: sum`, which is the default.
"""

from __future__ import annotations

from jorip.core.site import Site
from jorip.parts.attention.linear.base import Folding
from jorip.parts.attention.linear.features.base import FeatureMap
from jorip.parts.attention.linear.features.dpfp import Dpfp
from jorip.parts.attention.linear.features.elu import Elu
from jorip.parts.attention.linear.features.relu import Relu
from jorip.parts.attention.linear.rules.base import Aggregation
from jorip.parts.attention.linear.rules.delta import Delta
from jorip.parts.attention.linear.rules.gated import Gated
from jorip.parts.attention.linear.rules.sum import Sum


class LinearAttention(Folding, name="linear"):
    """features: the map of queries and keys; rule: how they go into the state."""

    ids = ("A3.1", "A3.5", "A3.6", "A3.7", "A3.8", "A3.9")
    features: FeatureMap = Elu()
    rule: Aggregation = Sum()

    def feature_size(self, site: Site) -> int:
        return self.features.size(site.head_dim)

    def feature_macs(self, site: Site) -> int:
        return self.features.macs(site.head_dim)

    def parts(self, site: Site):
        return self.features.build(site), self.rule.build(site, self.feature_size(site)), None

    @classmethod
    def examples(cls):
        return (
            cls(),
            cls(features=Elu(), rule=Gated(), chunk=2),
            cls(features=Dpfp(nu=2), rule=Delta(), chunk=3),
            cls(features=Relu(count=64), chunk=4),
        )
