"""Span readout: where an answer starts and ends in the text (extractive question answering; Devlin et al. 2018,
1810.04805; SQuAD: 1606.05250). Two scores per row, a softmax over the rows of each sequence for each of them."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import DataError
from jorip.core.init import Linear
from jorip.core.layout import Layout, Rows
from jorip.core.site import Site
from jorip.ops.cross_entropy import cross_entropy
from jorip.ops.dropout import Dropout
from jorip.parts.feedforward.base import FeedForward
from jorip.parts.feedforward.dense import Dense
from jorip.parts.norm.base import Norm
from jorip.parts.norm.layer_norm import LayerNorm
from jorip.parts.readout.base import IGNORE, Readout, ReadoutModule


class Spans(Readout):
    """feed_forward: a post-norm layer before the scores (BigBird has one), with this norm, and dropout before and after
    it; None = the scores come from the rows themselves, as in BERT, and neither is used.

    Logits (rows, 2): start, end; they mean nothing where the mask is False. targets (batch, 2) int64: the places of
    start and end among the sequence's own tokens, from 0, the same however it is padded; IGNORE = not asked (no
    answer). The loss sums both cross-entropies and counts both, so its mean is the mean of the two.
    """

    feed_forward: FeedForward | None = None
    norm: Norm = LayerNorm(eps=1e-12)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def build(self, site: Site, embedding: nn.Module, vocab_size: int) -> SpansReadout:
        if self.feed_forward is None:
            return SpansReadout(site.d_model)
        parts = {"feed_forward": self.feed_forward.build(site.at("feed_forward")), "norm": self.norm.build(site)}
        drops = {n: Dropout(self.dropout, f"{site.path}.{n}_dropout") for n in ("before", "after")}
        return SpansReadout(site.d_model, **parts, **drops)

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        rows = shape.rows * site.d_model
        own = Cost(
            linear=2 * rows, activations=rows + 2 * shape.rows, sequential=1, work=4 * shape.rows, back=rows
        )  # fmt: skip
        if self.feed_forward is None:
            return own
        before = self.feed_forward.cost(site.at("feed_forward"), shape) + self.norm.cost(site, shape)
        return before + own + Cost(activations=2 * rows if self.dropout else 0)

    @classmethod
    def examples(cls):
        return (cls(), cls(feed_forward=Dense(d_ff=5, activation="gelu"), dropout=0.1))


class SpansReadout(ReadoutModule):
    def __init__(
        self,
        width: int,
        feed_forward: nn.Module | None = None,
        norm: nn.Module | None = None,
        before: Dropout | None = None,
        after: Dropout | None = None,
    ):
        super().__init__()
        self.feed_forward, self.norm, self.before, self.after = feed_forward, norm, before, after
        self.out = Linear(width, 2, role="readout")

    def logits(self, h: Rows, ctx: Context | None = None) -> Tensor:
        if self.feed_forward is None:
            return self.out(h.x)
        assert self.norm is not None and self.before is not None and self.after is not None
        ctx = Context() if ctx is None else ctx
        y = self.feed_forward(Rows(self.before(h.x, h.at, ctx), h.at), ctx)
        return self.out(self.norm(h.x + self.after(y, h.at, ctx)))

    def placed(self, targets: Tensor, at: Layout) -> Tensor:
        return targets

    def loss(
        self, h: Rows, targets: Tensor, label_smoothing: float = 0.0, ctx: Context | None = None
    ) -> tuple[Tensor, Tensor]:
        asked = self.check(targets, h.at)
        scores = h.at.grid(self.logits(h, ctx)).transpose(1, 2)  # (batch, 2, longest)
        seen = h.at.real[:, None].expand(scores.shape)[asked]
        scores = scores[asked]  # (asked, longest)
        hidden = scores.masked_fill(~seen, float("-inf"))
        loss = cross_entropy(hidden, targets[asked])
        if label_smoothing:  # the other rows of the same sequence share it
            even = hidden.logsumexp(-1) - (scores * seen).sum(-1) / seen.sum(-1)
            loss = (1 - label_smoothing) * loss + label_smoothing * even.to(loss.dtype).sum()
        return loss, asked.sum()

    def check(self, targets: Tensor, at: Layout) -> Tensor:
        """(batch, 2) bool: what is asked. Raises DataError for places that a sequence has not."""
        if targets.shape != (at.batch, 2):
            raise DataError(
                f"spans: targets are (batch, 2), the places of start and end; found {tuple(targets.shape)} for "
                f"{at.batch} sequences"
            )
        asked = targets != IGNORE
        wrong = asked & ((targets < 0) | (targets >= at.lengths[:, None]))
        if bool(wrong.any()):
            i = int(wrong.any(1).nonzero()[0, 0])
            raise DataError(
                f"spans: sequence {i} has {int(at.lengths[i])} tokens, but its span is {targets[i].tolist()}: give "
                f"places from 0 in what is left after truncation, or {IGNORE} where the answer was cut off"
            )
        return asked
