"""Post-norm block (N1.1): H' = norm(H + F(H)) (survey Eq 5-6; Vaswani et al. 2017, 1706.03762). Needs warm-up."""

from __future__ import annotations

from jorip.blocks.base import Standard, StandardBlock
from jorip.core.layout import Rows
from jorip.core.site import Site


class PostNorm(Standard, name="post_norm"):
    """Usually better after convergence, but large gradients near the output at the start: use a warm-up."""

    ids = ("N1.1",)

    def build(self, site: Site) -> StandardBlock:
        return PostNormBlock.from_spec(self, site)


class PostNormBlock(StandardBlock):
    def forward(self, x, carry, ctx, memory=None):
        for name in ("mixer", "cross", "feed_forward") if self.crosses else ("mixer", "feed_forward"):
            y, carry = self.sublayer(name, x, carry, ctx, memory)
            x = Rows(self.norms[name](x.x + y.x), x.at)
        return x, carry
