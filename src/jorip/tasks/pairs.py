"""What tasks of source and target share (encoder-decoder): lengths, the loss, and the generated answers.

A source stands between the tokenizer's special tokens (ours: <eos> at the end); so does a target, behind what the
decoder reads first (ours: <bos>). A loaded model has its own of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.core.errors import ConfigError
from jorip.core.layout import Packed
from jorip.data.batches import plan_batches
from jorip.inference.generate import generate
from jorip.tasks.base import Task, until_end
from jorip.tasks.examples import Batch, Examples, all_but_first, all_but_last, truncate

_ROWS = 128  # of one call of generation: sources times beams


class Pairs(Task):
    """Streams source and target."""

    recipe = "transformer-small"

    @classmethod
    def complete(cls, spec, tokenizer, labels):
        if not isinstance(spec, EncoderDecoder):
            raise ConfigError(f"model: {cls.name} needs an encoder_decoder, found {spec.kind}: take transformer-small")
        return sized(spec, tokenizer.vocab_size)

    @property
    def spec(self) -> EncoderDecoder:
        assert isinstance(self.model.spec, EncoderDecoder)
        return self.model.spec

    @property
    def limit(self) -> int | None:
        """Tokens of a text, special ones not counted: `data.max_len`, or what both sides have room for where that is
        less. The decoder does not read the target's last token, so what it reads first costs no room."""
        sides = (self.spec.encoder.max_len, self.spec.decoder.max_len)
        rooms = (max(n - self.tokenizer.source.extra, 0) for n in sides if n is not None)
        return min((n for n in (self.config.data.max_len, *rooms) if n is not None), default=None)

    @property
    def start(self) -> int:
        """What the decoder reads first."""
        known: dict[str, Any] = self.model.origin.ids if self.model.origin is not None else {}
        return known.get("decoder_start", self.tokenizer.bos)

    def streams(self, source: Sequence[int], target: Sequence[int]) -> dict[str, list[int]]:
        """One pair with its special tokens."""
        around = self.tokenizer.source
        return {"source": around.fill(list(source))[0], "target": [self.start, *around.fill(list(target))[0]]}

    def count(self, batch: Batch) -> int:
        """Target tokens, the first, which is given, not counted."""
        target = batch["target"]
        return int(target.lengths.sum()) - len(target.lengths)

    def run(self, model, batch, key, label_smoothing):
        targets = all_but_first(batch["target"]).values
        return model(batch["source"], all_but_last(batch["target"]), targets=targets, key=key,
                     label_smoothing=label_smoothing)  # fmt: skip

    @torch.no_grad()
    def scores(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Loss and next-token accuracy over the targets, what ends them included."""
        total = right = count = 0.0
        for batch in self.batches(examples):
            wanted = all_but_first(batch["target"]).values
            logits = model(batch["source"], all_but_last(batch["target"])).logits
            total += float(nn.functional.cross_entropy(logits.float(), wanted, reduction="sum"))
            right, count = right + float((logits.argmax(-1) == wanted).sum()), count + len(wanted)
        return {"loss": total / max(count, 1), "token_accuracy": right / max(count, 1)}

    def filled(self, sources: Sequence[Any]) -> list[list[int]]:
        """Sources as the model reads them, with special tokens; those beyond the limit are cut, and counted."""
        kept, cut = truncate([[int(i) for i in s] for s in sources], self.limit)
        self.cut += cut
        return [self.tokenizer.source.fill(s)[0] for s in kept]

    @torch.no_grad()
    def answers(self, model: Any, sources: Sequence[Any], **options: Any) -> list[list[int]]:
        """What is generated for each source, in order: ids up to the end of the text. sources: ids without special
        tokens. Like lengths are decoded together."""
        options = self.generation() | options
        ids = [torch.tensor(s, dtype=torch.int64) for s in self.filled(sources)]
        made: list[list[int]] = [[]] * len(ids)
        width = max(1, _ROWS // options.get("beams", 8))  # a folder's own settings may search, too
        for part in plan_batches([len(i) for i in ids], 8192, seed=0, epoch=0, shuffle=False, max_examples=width):
            new = generate(model, Packed.cat([ids[i] for i in part]), bos=self.start, **options)
            for i, row in zip(part, new.tolist()):
                made[i] = until_end(row, self.ends)
        return made


def sized(spec: EncoderDecoder, vocab_size: int) -> EncoderDecoder:
    """With this vocabulary on both sides."""
    size = {"vocab_size": vocab_size}
    return spec.with_fields(encoder=spec.encoder.override(size), decoder=spec.decoder.override(size))
