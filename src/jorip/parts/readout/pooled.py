"""No decision, only one row for the sequence: BERT's pooler (Devlin et al. 2018, 1810.04805), tanh(W h_[CLS] + b)."""

from __future__ import annotations

from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import ConfigError
from jorip.core.layout import Rows
from jorip.core.site import Site
from jorip.ops.dropout import Dropout
from jorip.parts.readout.base import Reading, Readout
from jorip.parts.readout.pooling import Pool, PoolingReadout


class Pooled(Readout):
    """pool: which row or which summary of rows is read; hidden: whether a tanh layer follows. Fills the output's
    `pooled` (batch, d_model); there are no logits and no loss."""

    pool: Pool = "first"
    hidden: bool = True

    def build(self, site: Site, embedding: nn.Module, vocab_size: int) -> PooledReadout:
        return PooledReadout(site.d_model, self.pool, self.hidden, "tanh", Dropout(0.0, f"{site.path}.hidden"))

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        hidden = site.d_model**2 if self.hidden else 0
        return Cost(
            linear=shape.batch * hidden,
            activations=shape.batch * site.d_model * (1 + self.hidden),
            sequential=int(self.hidden),
            work=2 * shape.batch * site.d_model,
            back=shape.rows * site.d_model,
        )

    @classmethod
    def examples(cls):
        return (cls(), cls(pool="mean", hidden=False))


class PooledReadout(PoolingReadout):
    def read(self, h: Rows, ctx: Context | None = None) -> Reading:
        return Reading(pooled=self.pool(h, ctx))

    def loss(
        self, h: Rows, targets: Tensor, label_smoothing: float = 0.0, ctx: Context | None = None
    ) -> tuple[Tensor, Tensor]:
        raise ConfigError("the readout pooled decides nothing, so it has no loss: take a readout like classifier")
