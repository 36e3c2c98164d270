"""BERT's pre-training readout (Devlin et al. 2018, 1810.04805): masked tokens per row, next sentence per pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import DataError, did_you_mean
from jorip.core.layout import Layout, Rows
from jorip.core.site import Site
from jorip.parts.feedforward.base import Activation
from jorip.parts.readout.base import IGNORE, Reading
from jorip.parts.readout.classifier import ClassifierReadout
from jorip.parts.readout.masked_language_model import MaskedLanguageModel, MaskedLanguageModelReadout
from jorip.parts.readout.next_sentence import NextSentence

TARGETS = ("tokens", "next_sentence")


class PreTraining(MaskedLanguageModel):
    """A masked_language_model's fields. The output's `logits` are the tokens', `readouts["next_sentence"]` (batch, 2).

    targets: of the tokens, as for masked_language_model, or {"tokens": ..., "next_sentence": (batch,)}. The paper's
    loss is the mean over tokens plus the mean over pairs: the tokens' is the loss, the pairs' mean an auxiliary loss,
    `next_sentence_loss`. With targets for the pairs alone, theirs is the loss.
    """

    def build(self, site: Site, embedding: nn.Module, vocab_size: int) -> PreTrainingReadout:
        norm, table = self.norm.build(site.at("norm")), embedding if self.tied else None
        pairs = NextSentence().build(site.at("next_sentence"), embedding, vocab_size)
        return PreTrainingReadout(
            site.path, pairs, site.d_model, vocab_size, self.bias, table, self.activation, norm
        )  # fmt: skip

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        return super().cost(site, shape, vocab_size) + NextSentence().cost(site, shape, vocab_size)


class PreTrainingReadout(MaskedLanguageModelReadout):
    def __init__(
        self,
        path: str,
        pairs: ClassifierReadout,
        width: int,
        vocab: int,
        bias: bool,
        embedding: nn.Module | None,
        activation: Activation,
        norm: nn.Module,
    ):
        super().__init__(width, vocab, bias, embedding, activation, norm)
        self.path, self.next_sentence = path, pairs

    def read(self, h: Rows, ctx: Context | None = None) -> Reading:
        pairs, pooled, _ = self.next_sentence.read(h, ctx)
        assert pairs is not None
        return Reading(self.logits(h, ctx), pooled, {"next_sentence": pairs})

    def placed(self, targets: Any, at: Layout) -> Any:
        if not isinstance(targets, Mapping):
            return super().placed(targets, at)
        if not targets:
            raise DataError(f"give pre_training targets for {', '.join(TARGETS)} or both, found none")
        for name in targets:
            if name not in TARGETS:
                raise DataError(
                    f"pre_training has targets called {' and '.join(TARGETS)}, found {name!r}"
                    + did_you_mean(name, TARGETS)
                )
        return {n: super(PreTrainingReadout, self).placed(t, at) if n == "tokens" else t for n, t in targets.items()}

    def loss(
        self,
        h: Rows,
        targets: Tensor | Mapping[str, Tensor],
        label_smoothing: float = 0.0,
        ctx: Context | None = None,
    ) -> tuple[Tensor, Tensor]:
        named = targets if isinstance(targets, Mapping) else {"tokens": targets}
        pairs = named.get("next_sentence")
        if "tokens" not in named:
            assert pairs is not None
            return self.next_sentence.loss(h, pairs, label_smoothing, ctx)
        if pairs is not None and ctx is not None and bool((pairs != IGNORE).any()):
            total, count = self.next_sentence.loss(h, pairs, 0.0, ctx)
            ctx.notes[self.path, "next_sentence_loss"] = total / count
        return super().loss(h, named["tokens"], label_smoothing, ctx)
