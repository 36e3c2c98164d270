"""Gated sum, RFA-Gate (A3.8; Peng et al. 2021, 2103.02143): S = g S + (1 - g) f(k) v^T, u = g u + (1 - g) f(k), y =
f(q) S / f(q) u, with g = sigmoid(w x + b) for each row and key head: what is old weighs less."""

from __future__ import annotations

import torch.nn.functional as F

from jorip.core.site import Site
from jorip.ops.linear_attention_steps import Decayed
from jorip.parts.attention.linear.rules.base import Aggregation, Entries, Rule, gate, only


class Gated(Aggregation):
    """No fields."""

    ids = ("A3.8",)

    def build(self, site: Site, size: int) -> Rule:
        return GatedRule()


class GatedRule(Rule):
    normalised = True
    kept = 3  # both entries, and their signs

    def streams(self, site):
        return {"gate": gate(site)}

    def step(self, features):
        return Decayed(features, normalised=True)

    def entries(self, s, real):
        return Entries(only((-s["gate"]).sigmoid(), real), only(F.logsigmoid(s["gate"]), real))
