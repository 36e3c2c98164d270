"""The plain sum (A3.7; survey Eq 15-16): S += f(k) v^T, u += f(k), y = f(q) S / f(q) u."""

from __future__ import annotations

from jorip.core.site import Site
from jorip.ops.linear_attention_steps import Sum as SumStep
from jorip.parts.attention.linear.rules.base import Aggregation, Entries, Rule


class Sum(Aggregation):
    """No fields. The order of rows does not matter, so it also serves where everything is seen, or a memory is read."""

    ids = ("A3.7",)

    def build(self, site: Site, size: int) -> Rule:
        return SumRule()


class SumRule(Rule):
    ordered, normalised = False, True

    def step(self, features):
        return SumStep(features)

    def entries(self, s, real):
        return Entries(real)

    def inputs(self, e):
        return [e.weight]
