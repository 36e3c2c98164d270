"""Tagging readout: one decision per row (sequence labelling)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.init import Linear
from jorip.core.layout import Rows
from jorip.core.site import Site
from jorip.ops.cross_entropy import cross_entropy
from jorip.ops.dropout import Dropout
from jorip.parts.readout.base import Readout, ReadoutModule, wanted_count


class Tagger(Readout):
    """n_classes: how many labels; dropout: before the decision."""

    n_classes: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def build(self, site: Site, embedding: nn.Module, vocab_size: int) -> TaggerReadout:
        return TaggerReadout(site.d_model, self.n_classes, Dropout(self.dropout, f"{site.path}.dropout"))

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        rows, logits = shape.rows * site.d_model, shape.rows * self.n_classes
        return Cost(
            linear=rows * self.n_classes,
            activations=(2 if self.dropout else 1) * rows + logits,
            sequential=1,
            wide=logits,
            work=logits,
            back=rows + logits,
        )

    @classmethod
    def examples(cls):
        return (cls(), cls(n_classes=3, dropout=0.1))


class TaggerReadout(ReadoutModule):
    def __init__(self, width: int, n_classes: int, dropout: Dropout):
        super().__init__()
        self.out = Linear(width, n_classes, role="readout")
        self.dropout = dropout

    def logits(self, h: Rows, ctx: Context | None = None) -> Tensor:
        return self.out(self.dropped(h, ctx))

    def dropped(self, h: Rows, ctx: Context | None) -> Tensor:
        return h.x if ctx is None else self.dropout(h.x, h.at, ctx)

    def wanted_loss(
        self, h: Rows, targets: Tensor, index: Tensor | None, label_smoothing: float, ctx: Context | None = None
    ) -> tuple[Tensor, Tensor]:
        x = self.dropped(h, ctx)  # before rows are chosen: what is dropped hangs on a row's place
        logits = self.out(x if index is None else x[index])
        return cross_entropy(logits, targets, label_smoothing), wanted_count(targets)
