"""Classification readout: one decision for a whole sequence, from a pooled row."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.init import Linear
from jorip.core.layout import Layout, Rows
from jorip.core.site import Site
from jorip.ops.dropout import Dropout
from jorip.parts.readout.base import Readout, ReadoutModule

Pool = Literal["first", "mean", "max", "last"]


class Classifier(Readout):
    """n_classes; pool: which row or which summary of rows is read ("first" is BERT's [CLS]); hidden: a tanh layer
    before the decision, as BERT's pooler; dropout: before the decision; bias: of the decision."""

    n_classes: int = Field(default=2, ge=2)
    pool: Pool = "mean"
    hidden: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    bias: bool = True

    def build(self, site: Site, embedding: nn.Module, vocab_size: int) -> ClassifierReadout:
        drop = Dropout(self.dropout, f"{site.path}.dropout")
        return ClassifierReadout(site.d_model, self.n_classes, self.pool, self.hidden, drop, self.bias)

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        hidden = site.d_model**2 if self.hidden else 0
        return Cost(
            linear=shape.batch * (site.d_model * self.n_classes + hidden),
            activations=shape.batch * (site.d_model * (2 + self.hidden) + self.n_classes),
            sequential=1 + self.hidden,
        )

    @classmethod
    def examples(cls):
        return (cls(), cls(n_classes=5, pool="first", hidden=True), cls(pool="max"), cls(pool="last", dropout=0.1))


class ClassifierReadout(ReadoutModule):
    edge = False

    def __init__(self, width: int, n_classes: int, pool: Pool, hidden: bool, dropout: Dropout, bias: bool = True):
        super().__init__()
        self.pool_name: Pool = pool
        self.hidden = Linear(width, width, role="readout") if hidden else None
        self.out = Linear(width, n_classes, bias, role="readout")
        self.dropout = dropout

    def pool(self, h: Rows) -> Tensor:
        """(batch, width)."""
        pooled = pool_rows(h, self.pool_name)
        return self.hidden(pooled).tanh() if self.hidden is not None else pooled

    def logits(self, h: Rows, ctx: Context | None = None) -> Tensor:
        pooled = self.pool(h)
        if self.training and ctx is not None:
            pooled = self.dropout(pooled, Layout.of(torch.ones_like(h.at.lengths), h.at.uid), ctx)
        return self.out(pooled)


def pool_rows(h: Rows, how: Pool) -> Tensor:
    """(rows, width) -> (batch, width); an empty sequence pools to zeros."""
    g = h.at.grid(h.x)
    if not g.shape[1]:
        return g.sum(1)
    if how == "mean":
        return g.sum(1) / h.at.lengths.clamp(min=1)[:, None].to(g.dtype)
    if how == "max":
        hidden = g.masked_fill(~h.at.real[..., None], torch.finfo(g.dtype).min).amax(1)
        return hidden.masked_fill((h.at.lengths == 0)[:, None], 0)
    index = (h.at.lengths - 1).clamp(min=0) if how == "last" else torch.zeros_like(h.at.lengths)
    return g[torch.arange(h.at.batch, device=g.device), index]
