"""Span corruption: spans of a text become blanks, and only what was there is said (encoder-decoder; T5, 1910.10683).

Blanks are marked by sentinels: the tokenizer's own <extra_id_0> <extra_id_1> ... where it has them, else the last ids
of a vocabulary that is made larger by so many.
"""

from __future__ import annotations

from functools import cached_property
from itertools import takewhile
from typing import Any

from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.core.errors import ConfigError, DataError
from jorip.objectives.base import Pair, Vocabulary
from jorip.objectives.span_corruption import SpanCorruption as Objective
from jorip.objectives.span_corruption import restore
from jorip.tasks.blanks import BLANK, as_vocabulary, read_blanks, spell
from jorip.tasks.denoise import Denoise
from jorip.tasks.pairs import sized


class SpanCorruption(Denoise):
    """As `Denoise`, with sentinels."""

    name = "span_corruption"
    objective = Objective

    @classmethod
    def begin(cls, config, train):
        spec, tokenizer, labels, source = super().begin(config, train)
        if source is None and not own_sentinels(tokenizer):
            assert isinstance(spec, EncoderDecoder)
            spec = sized(spec, tokenizer.vocab_size + Objective(**config.objective).sentinels)
        return spec, tokenizer, labels, source

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Raises ConfigError when a model that the run starts from has no ids to spare."""
        t, size = self.tokenizer, self.spec.decoder.vocab_size
        marks = own_sentinels(t)[: self.noise.sentinels]
        if not marks:
            if t.vocab_size + self.noise.sentinels > size:
                raise ConfigError(
                    f"objective.sentinels: {self.noise.sentinels} ids after the tokenizer's {t.vocab_size} are needed, "
                    f"the model has {size} in all: start from a model that was trained by span_corruption"
                )
            marks = self.noise.ids(Vocabulary(size))
        return as_vocabulary(t, size, sentinels=marks)

    def size(self, length: int) -> int:
        return self.noise.size(length) + 2 * self.tokenizer.source.extra

    def pair(self, text: Any, key: tuple[int, ...]) -> Pair:
        return self.noise(text, key, self.vocabulary)

    def spell(self, ids: Any) -> str:
        return spell(self.tokenizer, ids, self.vocabulary.sentinels)

    def predict(self, rows: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
        """The text with every `<mask>` filled; `fills` has what was put into each."""
        marks = self.vocabulary.sentinels
        sources = [self.sentinels_for(r["text"]) for r in rows]
        made = self.answers(self.model, sources, **options)
        decode = self.tokenizer.decode
        return [
            {
                "text": r["text"],
                "prediction": decode(restore(s, m, marks)),
                "fills": [decode(restore([k], m, marks)) for k in s if k in marks],
            }
            for r, s, m in zip(rows, sources, made)
        ]

    def sentinels_for(self, text: str) -> list[int]:
        """The ids of a text whose blanks are written `<mask>`, the first sentinel standing for the first.

        Raises DataError when there is no blank, or more than there are sentinels for.
        """
        t, marks = self.tokenizer, self.vocabulary.sentinels
        n = text.count(BLANK)
        if not n or n >= len(marks):
            raise DataError(
                f"{n or 'no'} {BLANK} in {text[:60]!r}: write 1 to {len(marks) - 1}, each where something is missing"
            )
        if own_sentinels(t):
            for i in range(n):
                text = text.replace(BLANK, f"<extra_id_{i}>", 1)
            return t.encode(text, allow_specials=True)
        order = iter(marks)
        return [next(order) if k == t.mask else k for k in read_blanks(t, text)]


def own_sentinels(tokenizer: Any) -> tuple[int, ...]:
    """Of a loaded tokenizer."""
    if tokenizer.own:
        return ()
    found = (tokenizer.token_to_id(f"<extra_id_{i}>") for i in range(tokenizer.vocab_size))
    return tuple(takewhile(lambda i: i is not None, found))
