"""Random feature attention (A3.4; Peng et al. 2021, 2103.02143): Fourier features of queries and keys of length 1,
and a gate that lets the past fade (RFA-Gate), where only the past is seen."""

from __future__ import annotations

from pydantic import Field

from jorip.core.site import Site
from jorip.parts.attention.linear.base import Folding
from jorip.parts.attention.linear.features.rfa import Rfa as RfaMap
from jorip.parts.attention.linear.rules.gated import Gated
from jorip.parts.attention.linear.rules.sum import Sum


class Rfa(Folding):
    """features: random directions, two features of each; 64 as in the paper's language models; gate: None = in causal
    stacks, as in the paper; seed: of the draw."""

    ids = ("A3.4",)
    features: int = Field(default=64, gt=0, le=2**20)
    gate: bool | None = None
    seed: int = Field(default=0, ge=0, lt=2**31)

    @property
    def random_map(self) -> RfaMap:
        return RfaMap(count=self.features, seed=self.seed)

    def feature_size(self, site: Site) -> int:
        return self.random_map.size(site.head_dim)

    def feature_macs(self, site: Site) -> int:
        return self.random_map.macs(site.head_dim)

    def parts(self, site: Site):
        rule = Gated() if (site.causal if self.gate is None else self.gate) else Sum()
        return self.random_map.build(site), rule.build(site, self.feature_size(site)), None

    @classmethod
    def examples(cls):
        return (cls(chunk=4), cls(features=48, gate=False, seed=1))
