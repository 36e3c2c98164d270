"""Pre-norm block (N1.2): H' = H + F(norm(H)); the stack ends with a norm (Xiong et al. 2020, 2002.04745)."""

from __future__ import annotations

from jorip.blocks.base import Standard, StandardBlock
from jorip.core.layout import Rows
from jorip.core.site import Site


class PreNorm(Standard, name="pre_norm"):
    """Trains without warm-up; give the architecture a final norm."""

    ids = ("N1.2",)
    normed = 1

    def build(self, site: Site) -> StandardBlock:
        return PreNormBlock.from_spec(self, site)


class PreNormBlock(StandardBlock):
    def forward(self, x, carry, ctx, memory=None):
        for name in ("mixer", "cross", "feed_forward") if self.crosses else ("mixer", "feed_forward"):
            y, carry = self.sublayer(name, Rows(self.norms[name](x.x), x.at), carry, ctx, memory)
            x = Rows(x.x + y.x, x.at)
        return x, carry
