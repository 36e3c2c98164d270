"""The protocol of aggregation rules: how f(k) and v go into the state, and what of it is forgotten (survey 4.2.2)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from jorip.core.site import Site
from jorip.core.spec import Spec
from jorip.ops.linear_attention import Features
from jorip.ops.linear_attention_steps import Chunk
from jorip.parts.attention.base import Stream


class Aggregation(Spec, family=True, package="jorip.parts.attention.linear.rules"):
    """Family of aggregation rules."""

    def build(self, site: Site, size: int) -> Rule:
        """size: of the features."""
        raise TypeError(f"{self.kind} cannot be built")

    @classmethod
    def examples(cls) -> tuple[Aggregation, ...]:
        return (cls(),)


@dataclass(frozen=True)
class Entries:
    """What the rule says of each row: grids (batch, key heads, length, 1 or size) each, or None. weight: of f(k), 0 for
    rows that do not exist; decay: logarithms; beta: how much of what is new is written (delta rules)."""

    weight: Tensor | None = None
    decay: Tensor | None = None
    beta: Tensor | None = None


class Rule(nn.Module):
    """ordered: the order of rows matters, beyond which of them are seen; normalised: outputs are divided by what values
    of 1 would give; kept: elements that making the entries keeps for each row and key head."""

    ordered = True
    normalised = False
    kept = 0

    def streams(self, site: Site) -> dict[str, Stream]:
        """Besides q, k and v."""
        return {}

    def features(self, features: Features) -> Features:
        """What the rule makes of the map's features."""
        return features

    def step(self, features: Features) -> Chunk:
        raise TypeError(f"{type(self).__name__} has no step")

    def entries(self, s: dict[str, Tensor], real: Tensor | None) -> Entries:
        """real (batch, 1, length, 1): 1 for rows that exist, 0 for holes, None without holes."""
        raise TypeError(f"{type(self).__name__} has no entries")

    def inputs(self, e: Entries) -> list[Tensor | None]:
        """Of the step, after q, k and v."""
        return [e.weight, e.decay]


def only(x: Tensor, real: Tensor | None) -> Tensor:
    """Zero in holes."""
    return x if real is None else x * real


def gate(site: Site) -> Stream:
    """One number for each key head and row."""
    return Stream(site.n_kv_heads, 1, memory=True)
