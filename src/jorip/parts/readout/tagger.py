"""Tagging readout: one decision per row (sequence labelling)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.init import Linear
from jorip.core.layout import Rows
from jorip.core.site import Site
from jorip.parts.readout.base import Readout, ReadoutModule


class Tagger(Readout):
    """n_classes: how many labels."""

    n_classes: int = Field(default=2, ge=2)

    def build(self, site: Site, embedding: nn.Module, vocab_size: int) -> TaggerReadout:
        return TaggerReadout(site.d_model, self.n_classes)

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        return Cost(
            linear=shape.rows * site.d_model * self.n_classes, activations=shape.rows * self.n_classes, sequential=1
        )


class TaggerReadout(ReadoutModule):
    def __init__(self, width: int, n_classes: int):
        super().__init__()
        self.out = Linear(width, n_classes, role="readout")

    def logits(self, h: Rows, ctx: Context | None = None) -> Tensor:
        return self.out(h.x)
