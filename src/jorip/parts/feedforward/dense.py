"""Dense feed-forward: activation(H W1 + b1) W2 + b2 (survey Eq 4; F1.1 ReLU, F1.2 Swish, F1.3 GELU)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.init import Linear
from jorip.core.layout import Rows
from jorip.core.site import Site
from jorip.ops.dropout import Dropout
from jorip.parts.feedforward.base import Activation, FeedForward, activate, keeps


class Dense(FeedForward):
    """d_ff: inner width, None = 4 * d_model (Vaswani et al. 2017); dropout: after the activation, bias: in both."""

    ids = ("F1.1", "F1.2", "F1.3")
    d_ff: int | None = Field(default=None, gt=0)
    activation: Activation = "relu"
    bias: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def width(self, site: Site) -> int:
        return self.d_ff or 4 * site.d_model

    def build(self, site: Site) -> DenseFeedForward:
        drop = Dropout(self.dropout, f"{site.path}.hidden")
        return DenseFeedForward(site.d_model, self.width(site), self.activation, self.bias, drop)

    def cost(self, site: Site, shape: Shape) -> Cost:
        f = self.width(site)
        rows, hidden, outside = shape.rows, shape.rows * f, shape.rows * site.d_model
        kept = keeps(self.activation, self.dropout)
        return Cost(
            linear=2 * rows * site.d_model * f,
            activations=outside + kept * hidden,
            sequential=1,
            work=2 * hidden if self.activation != "identity" else hidden + outside,
            back=outside + (2 if kept == 1 else 1) * hidden + f * site.d_model,
        )

    @classmethod
    def examples(cls):
        return (
            cls(),
            cls(activation="gelu", dropout=0.1),
            cls(activation="gelu_tanh"),
            cls(activation="swish", bias=False),
        )


class DenseFeedForward(nn.Module):
    def __init__(self, d_model: int, d_ff: int, activation: Activation, bias: bool, dropout: Dropout):
        super().__init__()
        self.up = Linear(d_model, d_ff, bias, role="in")
        self.down = Linear(d_ff, d_model, bias, role="out")
        self.activation: Activation = activation
        self.dropout = dropout

    def forward(self, x: Rows, ctx: Context) -> Tensor:
        h = activate(self.activation, self.up(x.x))
        return self.down(self.dropout(h, x.at, ctx))
