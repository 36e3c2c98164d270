"""The protocol of readouts: `logits(rows)`, and `loss(rows, targets)` as sum and count, on needed positions only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.layout import Layout, Rows
from jorip.core.site import Site
from jorip.core.spec import Spec
from jorip.ops.cross_entropy import cross_entropy

IGNORE = -100  # a target that asks for no loss


class Readout(Spec, family=True, package="jorip.parts.readout"):
    """Family of readouts."""

    def build(self, site: Site, embedding: nn.Module, vocab_size: int) -> ReadoutModule:
        raise TypeError(f"{self.kind} cannot be built")

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        raise TypeError(f"{self.kind} has no cost")

    @classmethod
    def examples(cls) -> tuple[Readout, ...]:
        return (cls(),)


class Reading(NamedTuple):
    """What a readout says: logits (rows, classes) or (batch, classes); pooled (batch, width); more: further logits by
    name, (batch, classes) each."""

    logits: Tensor | None = None
    pooled: Tensor | None = None
    more: Mapping[str, Tensor] = {}


class ReadoutModule(nn.Module):
    """`edge`: the logits have one row per token, so they take the caller's form."""

    edge = True

    def read(self, h: Rows, ctx: Context | None = None) -> Reading:
        """All that it says; what has more to say than logits extends this."""
        return Reading(self.logits(h, ctx))

    def placed(self, targets: Any, at: Layout) -> Any:
        """Targets as `loss` takes them, from the caller's form: those of single tokens become rows."""
        return at.take(targets) if self.edge and targets.shape != at.order.shape else targets

    def logits(self, h: Rows, ctx: Context | None = None) -> Tensor:
        """(rows, classes), or (batch, classes) for readouts of whole sequences; ctx: keys the dropout in training."""
        raise TypeError(f"{type(self).__name__} has no logits")

    def loss(
        self, h: Rows, targets: Tensor, label_smoothing: float = 0.0, ctx: Context | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sum of cross-entropies and how many; targets (rows,) or (batch,) int64, IGNORE = not asked."""
        wanted = targets != IGNORE
        if not bool(wanted.all()):
            index = wanted.nonzero()[:, 0]
            return self.wanted_loss(h, targets[index], index, label_smoothing, ctx)
        return self.wanted_loss(h, targets, None, label_smoothing, ctx)

    def wanted_loss(
        self, h: Rows, targets: Tensor, index: Tensor | None, label_smoothing: float, ctx: Context | None = None
    ) -> tuple[Tensor, Tensor]:
        logits = self.logits(h if index is None or not self.edge else Rows(h.x[index], h.at), ctx)
        logits = logits if index is None or self.edge else logits[index]
        return cross_entropy(logits, targets, label_smoothing), wanted_count(targets)


def wanted_count(targets: Tensor) -> Tensor:
    return targets.new_tensor(targets.numel())
