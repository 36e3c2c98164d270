"""Performer: linear attention whose random features estimate softmax attention without bias.

positive (A3.3, FAVOR+; Choromanski et al. 2020, 2009.14794) never negative, hence stable; fourier (A3.2, FAVOR;
2006.03555), the first version; relu, what the second paper found to train best where softmax need not be approximated.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jorip.core.site import Site
from jorip.parts.attention.linear.base import Folding
from jorip.parts.attention.linear.features.draws import RandomMap
from jorip.parts.attention.linear.features.fourier import Fourier
from jorip.parts.attention.linear.features.positive import Positive
from jorip.parts.attention.linear.features.relu import Relu
from jorip.parts.attention.linear.rules.sum import Sum

_MAPS: dict[str, type[RandomMap]] = {"positive": Positive, "fourier": Fourier, "relu": Relu}


class Performer(Folding):
    """features: random directions, 256 as in the paper's models (fourier makes two features of each); map: positive,
    fourier or relu; orthogonal: directions, which lowers the variance; seed: of the draw.

    Short for `{linear: {features: {positive: {count: 256}}}}`."""

    ids = ("A3.2", "A3.3")
    features: int = Field(default=256, gt=0, le=2**20)
    map: Literal["positive", "fourier", "relu"] = "positive"
    orthogonal: bool = True
    seed: int = Field(default=0, ge=0, lt=2**31)

    @property
    def random_map(self) -> RandomMap:
        return _MAPS[self.map](count=self.features, orthogonal=self.orthogonal, seed=self.seed)

    def feature_size(self, site: Site) -> int:
        return self.random_map.size(site.head_dim)

    def feature_macs(self, site: Site) -> int:
        return self.random_map.macs(site.head_dim)

    def parts(self, site: Site):
        return self.random_map.build(site), Sum().build(site, self.feature_size(site)), None

    @classmethod
    def examples(cls):
        return (cls(features=32, chunk=4), cls(features=64, map="fourier", seed=1))
