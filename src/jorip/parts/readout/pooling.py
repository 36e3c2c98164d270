"""One row for a whole sequence: which of its rows, or which summary of them, and a layer over it (BERT's pooler)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from jorip.core.context import Context
from jorip.core.init import Linear
from jorip.core.layout import Layout, Rows
from jorip.ops.dropout import Dropout
from jorip.parts.feedforward.base import Activation, activate
from jorip.parts.readout.base import ReadoutModule

Pool = Literal["first", "mean", "max", "last"]
Hidden = Literal["tanh", "relu", "gelu", "gelu_tanh", "swish", "sigmoid", "identity"]


class PoolingReadout(ReadoutModule):
    """`pool`: (rows, width) -> (batch, width), through dropout, a linear map and an activation where it is `hidden`."""

    edge = False

    def __init__(self, width: int, pool: Pool, hidden: bool, activation: Hidden, dropout: Dropout):
        super().__init__()
        self.pool_name: Pool = pool
        self.hidden = Linear(width, width, role="readout") if hidden else None
        self.activation: Hidden = activation
        self.hidden_dropout = dropout

    def pool(self, h: Rows, ctx: Context | None = None) -> Tensor:
        """(batch, width)."""
        pooled = pool_rows(h, self.pool_name)
        if self.hidden is None:
            return pooled
        y = self.hidden(drop_pooled(self.hidden_dropout, pooled, h.at, ctx))
        return y.tanh() if self.activation == "tanh" else activate(_plain(self.activation), y)


def _plain(name: Hidden) -> Activation:
    assert name != "tanh"
    return name


def drop_pooled(dropout: Dropout, pooled: Tensor, at: Layout, ctx: Context | None) -> Tensor:
    """Dropout of (batch, width), by sample."""
    if not dropout.training or ctx is None:
        return pooled
    return dropout(pooled, Layout.of(torch.ones_like(at.lengths), at.uid), ctx)


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
