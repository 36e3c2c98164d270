"""Denoising: a noisy text in, the text out (encoder-decoder; BART, 1910.13461)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from torch import nn

from jorip.objectives.base import Pair, Vocabulary
from jorip.objectives.denoising import Denoising
from jorip.tasks.blanks import as_vocabulary, read_blanks, spell
from jorip.tasks.pairs import Pairs
from jorip.tasks.pretrain import Pretrain, evaluating


class Denoise(Pairs, Pretrain):
    """The target is the text, the source what noise made of it."""

    name = "denoise"
    objective = Denoising
    metrics = {"loss": "min", "token_accuracy": "max"}

    @cached_property
    def vocabulary(self) -> Vocabulary:
        _ = super().vocabulary  # refuses tokenizers without a mask
        return as_vocabulary(self.tokenizer, self.tokenizer.vocab_size, ends=self.noise.sentence_ends)

    @property
    def extra(self) -> int:
        """Of the longer side, the target."""
        return self.tokenizer.source.extra + 1

    @property
    def text_limit(self) -> int | None:
        return self.limit

    def size(self, length: int) -> int:
        """Source and target, before the noise."""
        return 2 * length + 2 * self.tokenizer.source.extra

    def pair(self, text: Any, key: tuple[int, ...]) -> Pair:
        return self.noise(text, key, self.vocabulary)

    def noisy(self, text: Any, key: tuple[int, ...]) -> dict[str, Any]:
        made = self.pair(text, key)
        return self.streams(made.source.tolist(), made.target.tolist())

    def samples(self, model: nn.Module) -> list[dict[str, Any]]:
        """Some validation texts: noisy, as they were, as they are restored."""
        pairs = [self.pair(text, (0, 0, i)) for i, text in enumerate(self.shown())]
        new = max((len(p.target) for p in pairs), default=0) + 16
        made = evaluating(model, lambda: self.answers(model, [p.source for p in pairs], beams=1, max_new_tokens=new))
        return [
            {"source": self.spell(p.source), "target": self.spell(p.target), "prediction": self.spell(m)}
            for p, m in zip(pairs, made)
        ]

    def spell(self, ids: Any) -> str:
        return spell(self.tokenizer, ids)

    def predict(self, rows: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
        """The whole text for a noisy one; a blank is written `<mask>`."""
        sources = [read_blanks(self.tokenizer, r["text"], needed=False) for r in rows]
        made = self.answers(self.model, sources, **options)
        return [{"text": r["text"], "prediction": self.tokenizer.decode(m)} for r, m in zip(rows, made)]
