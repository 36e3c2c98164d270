"""Gated feed-forward (F1.4): (activation(H W_g) * (H W_u)) W_d (Shazeer 2020, 2002.05202; GLU: Dauphin et al. 2017).

GLU is activation "sigmoid", ReGLU "relu", GEGLU "gelu", SwiGLU "swish", bilinear "identity".
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.init import Linear
from jorip.core.layout import Rows
from jorip.core.site import Site
from jorip.ops.dropout import Dropout
from jorip.parts.feedforward.base import Activation, FeedForward, activate


class Gated(FeedForward):
    """d_ff: inner width, None = 8/3 * d_model, which keeps a dense layer's parameters."""

    ids = ("F1.4",)
    d_ff: int | None = Field(default=None, gt=0)
    activation: Activation = "swish"
    bias: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def width(self, site: Site) -> int:
        return self.d_ff or 8 * site.d_model // 3

    def build(self, site: Site) -> GatedFeedForward:
        drop = Dropout(self.dropout, f"{site.path}.hidden")
        return GatedFeedForward(site.d_model, self.width(site), self.activation, self.bias, drop)

    def cost(self, site: Site, shape: Shape) -> Cost:
        f = self.width(site)
        rows, hidden, outside = shape.rows, shape.rows * f, shape.rows * site.d_model
        simple = self.activation in ("relu", "sigmoid", "identity")  # one of its input and result is enough
        kept = 4 - simple + (1 if self.dropout else 0)
        return Cost(
            linear=3 * rows * site.d_model * f,
            activations=outside + kept * hidden,
            sequential=1,
            work=3 * hidden,
            back=outside + 2 * hidden + f * site.d_model,
        )

    @classmethod
    def examples(cls):
        return (cls(), cls(activation="gelu"), cls(activation="sigmoid", bias=True, dropout=0.1))


class GatedFeedForward(nn.Module):
    def __init__(self, d_model: int, d_ff: int, activation: Activation, bias: bool, dropout: Dropout):
        super().__init__()
        self.gate = Linear(d_model, d_ff, bias, role="in")
        self.up = Linear(d_model, d_ff, bias, role="in")
        self.down = Linear(d_ff, d_model, bias, role="out")
        self.activation: Activation = activation
        self.dropout = dropout

    def forward(self, x: Rows, ctx: Context) -> Tensor:
        h = activate(self.activation, self.gate(x.x)) * self.up(x.x)
        return self.down(self.dropout(h, x.at, ctx))
