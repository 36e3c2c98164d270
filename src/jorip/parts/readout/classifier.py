"""Classification readout: one decision, or one number, for a whole sequence, from a pooled row."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.init import Linear
from jorip.core.layout import Rows
from jorip.core.site import Site
from jorip.ops.dropout import Dropout
from jorip.parts.readout.base import IGNORE, Reading, Readout
from jorip.parts.readout.pooling import Hidden, Pool, PoolingReadout, drop_pooled


class Classifier(Readout):
    """n_classes: 1 is regression, a number with a squared error; pool: which row or which summary of rows is read
    ("first" is BERT's [CLS]); hidden: a layer before the decision, as BERT's pooler, with this activation;
    hidden_dropout: before that layer (RoBERTa has it); dropout: before the decision; bias: of the decision."""

    n_classes: int = Field(default=2, ge=1)
    pool: Pool = "mean"
    hidden: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    bias: bool = True
    activation: Hidden = "tanh"
    hidden_dropout: float = Field(default=0.0, ge=0, lt=1)

    def build(self, site: Site, embedding: nn.Module, vocab_size: int) -> ClassifierReadout:
        drops = Dropout(self.dropout, f"{site.path}.dropout"), Dropout(self.hidden_dropout, f"{site.path}.hidden")
        return ClassifierReadout(
            site.d_model, self.n_classes, self.pool, self.hidden, self.activation, *drops, bias=self.bias
        )

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        hidden = site.d_model**2 if self.hidden else 0
        return Cost(
            linear=shape.batch * (site.d_model * self.n_classes + hidden),
            activations=shape.batch * (site.d_model * (1 + 2 * self.hidden) + self.n_classes)
            + (shape.rows * site.d_model if self.pool == "max" else 0),
            sequential=1 + self.hidden,
            work=shape.batch * (2 * site.d_model + self.n_classes)
            + (shape.rows * site.d_model if self.pool == "max" else 0),
            back=shape.rows * site.d_model,
        )

    @classmethod
    def examples(cls):
        return (
            cls(),
            cls(n_classes=5, pool="first", hidden=True),
            cls(pool="max"),
            cls(pool="last", dropout=0.1),
            cls(pool="first", hidden=True, activation="gelu", dropout=0.1, hidden_dropout=0.1),
            cls(n_classes=1),
        )


class ClassifierReadout(PoolingReadout):
    def __init__(
        self,
        width: int,
        n_classes: int,
        pool: Pool,
        hidden: bool,
        activation: Hidden,
        dropout: Dropout,
        hidden_dropout: Dropout,
        bias: bool = True,
    ):
        super().__init__(width, pool, hidden, activation, hidden_dropout)
        self.out = Linear(width, n_classes, bias, role="readout")
        self.dropout = dropout

    def read(self, h: Rows, ctx: Context | None = None) -> Reading:
        pooled = self.pool(h, ctx)
        return Reading(self.out(drop_pooled(self.dropout, pooled, h.at, ctx)), pooled)

    def logits(self, h: Rows, ctx: Context | None = None) -> Tensor:
        logits = self.read(h, ctx).logits
        assert logits is not None
        return logits

    def loss(
        self, h: Rows, targets: Tensor, label_smoothing: float = 0.0, ctx: Context | None = None
    ) -> tuple[Tensor, Tensor]:
        """One class: sum of squared errors and how many; targets (batch,) float, nan = not asked, or int64, IGNORE."""
        if self.out.out_features > 1:
            return super().loss(h, targets, label_smoothing, ctx)
        asked = ~targets.isnan() if targets.is_floating_point() else targets != IGNORE
        found = self.logits(h, ctx)[:, 0][asked]
        found = found.to(torch.promote_types(found.dtype, torch.float32))
        return F.mse_loss(found, targets[asked].to(found.dtype), reduction="sum"), asked.sum()
