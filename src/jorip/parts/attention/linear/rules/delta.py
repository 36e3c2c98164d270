"""Delta rule, fast weights (A3.9; Schlag et al. 2021, 2102.11174): what the state holds at f(k) is read and replaced,

    v' = S^T f(k),   S += b f(k) (v - v')^T,   y = S^T f(q),   b = sigmoid(w x + c) for each row and key head

f(q) and f(k) are divided by their sum, instead of the outputs by a denominator. Of maps that may be negative it is the
sum of magnitudes, which keeps |f(k)| <= 1, without which the state may grow for ever.
"""

from __future__ import annotations

from torch import Tensor

from jorip.core.site import Site
from jorip.ops.linear_attention import Features, ratio
from jorip.ops.linear_attention_steps import Delta as DeltaStep
from jorip.parts.attention.linear.rules.base import Aggregation, Entries, Rule, gate, only


class Delta(Aggregation):
    """No fields."""

    ids = ("A3.9",)

    def build(self, site: Site, size: int) -> Rule:
        return DeltaRule()


class Writing(Rule):
    """A gate b for each row, and the step above; what f is, the mechanism says."""

    kept = 1

    def streams(self, site):
        return {"beta": gate(site)}

    def step(self, features):
        return DeltaStep(features)

    def entries(self, s, real):
        return Entries(real, beta=only(s["beta"].sigmoid(), real))

    def inputs(self, e):
        return [e.weight, e.beta, e.decay]


class DeltaRule(Writing):
    """f(q) and f(k) as shares of their sum."""

    def features(self, features):
        return Features(lambda x: shares(features.queries(x)), lambda x: shares(features.keys(x)))


def shares(x: Tensor) -> Tensor:
    """x / sum |x| over the features; zeros stay zeros."""
    return ratio(x, x.abs().sum(-1, keepdim=True), 0.0)
