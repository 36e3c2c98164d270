"""Denoising: a noisy text in, the text out (encoder-decoder; BART, 1910.13461)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.core.errors import ConfigError
from jorip.core.layout import Packed
from jorip.data.batches import plan_batches
from jorip.inference.generate import generate
from jorip.objectives.base import Pair, Vocabulary
from jorip.objectives.denoising import Denoising
from jorip.tasks.begin import at
from jorip.tasks.blanks import as_vocabulary, read_blanks, spell
from jorip.tasks.examples import Batch, all_but_first, all_but_last
from jorip.tasks.pretrain import Pretrain, evaluating


class Denoise(Pretrain):
    """Source and target stand between the tokenizer's special tokens (ours: <eos> at the end); what the decoder reads
    starts with the checkpoint's start token, or <bos>."""

    name = "denoise"
    recipe = "transformer-small"
    objective = Denoising
    metrics = {"loss": "min", "token_accuracy": "max"}

    @classmethod
    def complete(cls, spec, tokenizer, labels):
        if not isinstance(spec, EncoderDecoder):
            raise ConfigError(f"model: {cls.name} needs an encoder_decoder, found {spec.kind}: take transformer-small")
        return sized(spec, tokenizer.vocab_size)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        _ = super().vocabulary  # refuses tokenizers without a mask
        return as_vocabulary(self.tokenizer, self.tokenizer.vocab_size, ends=self.noise.sentence_ends)

    @property
    def extra(self) -> int:
        """Of the longer side, the target."""
        return self.tokenizer.source.extra + 1

    @property
    def limit(self) -> int | None:
        sides = (at(self.model.spec, f"{side}.max_len") for side in ("encoder", "decoder"))
        return min((n for n in (self.config.data.max_len, *sides) if n is not None), default=None)

    @property
    def start(self) -> int:
        """What the decoder reads first."""
        known: Any = self.model.origin.ids if self.model.origin is not None else {}
        return known.get("decoder_start", self.tokenizer.bos)

    def size(self, length: int) -> int:
        """Source and target, before the noise."""
        return 2 * length + 2 * self.tokenizer.source.extra

    def pair(self, text: Any, key: tuple[int, ...]) -> Pair:
        return self.noise(text, key, self.vocabulary)

    def noisy(self, text: Any, key: tuple[int, ...]) -> dict[str, Any]:
        t, made = self.tokenizer, self.pair(text, key)
        return {
            "source": t.source.fill(made.source.tolist())[0],
            "target": [self.start, *t.source.fill(made.target.tolist())[0]],
        }

    def count(self, batch: Batch) -> int:
        """Target tokens, <bos> not counted."""
        target = batch["target"]
        return int(target.lengths.sum()) - len(target.lengths)

    def run(self, model, batch, key, label_smoothing):
        targets = all_but_first(batch["target"]).values
        return model(batch["source"], all_but_last(batch["target"]), targets=targets, key=key,
                     label_smoothing=label_smoothing)  # fmt: skip

    @torch.no_grad()
    def scores(self, model: nn.Module, examples) -> dict[str, float]:
        """Loss and next-token accuracy over the targets, <eos> included."""
        total = right = count = 0.0
        for batch in self.batches(examples):
            wanted = all_but_first(batch["target"]).values
            logits = model(batch["source"], all_but_last(batch["target"])).logits
            total += float(nn.functional.cross_entropy(logits.float(), wanted, reduction="sum"))
            right, count = right + float((logits.argmax(-1) == wanted).sum()), count + len(wanted)
        return {"loss": total / max(count, 1), "token_accuracy": right / max(count, 1)}

    @torch.no_grad()
    def answers(self, model: Any, sources: Sequence[Any], **options: Any) -> list[list[int]]:
        """What is generated for each source (ids without special tokens): ids up to <eos>."""
        e, t = self.config.evaluation, self.tokenizer
        options = {"beams": e.beams, "length_penalty": e.length_penalty, "max_new_tokens": e.max_new_tokens} | options
        limit = None if self.limit is None else self.limit - self.extra
        self.cut += sum(limit is not None and len(s) > limit for s in sources)
        ids = [torch.tensor(t.source.fill([int(k) for k in s][:limit])[0]) for s in sources]
        made: list[list[int]] = [[]] * len(ids)
        width = max(1, 128 // options["beams"])
        for part in plan_batches([len(i) for i in ids], 8192, seed=0, epoch=0, shuffle=False, max_examples=width):
            batch = Packed.cat([ids[i] for i in part])
            new = generate(model, batch, bos=self.start, eos=t.eos, **options)
            for i, row in zip(part, new.tolist()):
                made[i] = [k for k in (row[: row.index(t.eos)] if t.eos in row else row) if k >= 0]
        return made

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


def sized(spec: EncoderDecoder, vocab_size: int) -> EncoderDecoder:
    """With this vocabulary on both sides."""
    size = {"vocab_size": vocab_size}
    return spec.with_fields(encoder=spec.encoder.override(size), decoder=spec.decoder.override(size))
