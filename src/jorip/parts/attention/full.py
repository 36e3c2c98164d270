"""Full attention: softmax(Q K^T / sqrt(d)) V (survey Eq 1; Vaswani et al. 2017, 1706.03762). O(T^2 D) time."""

from __future__ import annotations

from pydantic import Field

from jorip.core.cost import Cost, Shape
from jorip.core.site import Site
from jorip.ops.attention import attend, attend_reference, attention_weights
from jorip.ops.dropout import Dropout
from jorip.parts.attention.base import Mechanism, MechanismModule, score_bias
from jorip.parts.attention.costs import all_pairs


class Full(Mechanism):
    """scale: multiplies the scores; None = 1/sqrt(head_dim). dropout: of attention weights; above 0 it takes the
    unfused path in training, which costs speed, so the default is 0."""

    nodes = "hubs", "spans"
    scale: float | None = None
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def build(self, site: Site) -> FullAttention:
        return FullAttention(self.scale or site.head_dim**-0.5, Dropout(self.dropout, f"{site.path}.weights"))

    def cost(self, site: Site, shape: Shape) -> Cost:
        return all_pairs(site, shape, self.dropout)


class FullAttention(MechanismModule):
    def __init__(self, scale: float, dropout: Dropout):
        super().__init__()
        self.scale, self.dropout = scale, dropout

    def forward(self, s, q_at, k_at, carry, ctx):
        bias = score_bias(q_at, k_at, ctx)
        if self.training and self.dropout.p and ctx.key is not None:
            drop = lambda w: self.dropout.weights(w, q_at, ctx)  # noqa: E731
            return attend_reference(s["q"], s["k"], s["v"], ctx.mask, q_at, k_at, self.scale, bias, drop), carry
        return attend(s["q"], s["k"], s["v"], ctx.mask, q_at, k_at, self.scale, bias), carry

    def weights(self, s, q_at, k_at, ctx):
        return attention_weights(s["q"], s["k"], ctx.mask, q_at, k_at, self.scale, score_bias(q_at, k_at, ctx))
