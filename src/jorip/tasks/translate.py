"""Sequence to sequence: translation and everything that rewrites one text as another (encoder-decoder)."""

from __future__ import annotations

import unicodedata
from typing import Any

import torch
from torch import nn

from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.core.errors import ConfigError
from jorip.data.store import RaggedStore
from jorip.inference.generate import generate
from jorip.tasks.base import Task, until_end
from jorip.tasks.begin import at
from jorip.tasks.examples import Batch, Examples, all_but_first, all_but_last, truncate


class Translate(Task):
    """Roles source and target, one shared vocabulary. The source ends with <eos>; the target starts with <bos>. A
    loaded model's texts have its own special tokens around, and what its decoder reads first in front."""

    name = "translate"
    recipe = "transformer-small"
    roles = ("source", "target")
    metrics = {"loss": "min", "token_accuracy": "max", "exact_match": "max", "bleu": "max"}

    @classmethod
    def complete(cls, spec, tokenizer, labels):
        if not isinstance(spec, EncoderDecoder):
            raise ConfigError(f"model: translate needs an encoder_decoder, found {spec.kind}: take transformer-small")
        size = {"vocab_size": tokenizer.vocab_size}
        return spec.with_fields(encoder=spec.encoder.override(size), decoder=spec.decoder.override(size))

    def encode(self, rows: list[dict[str, Any]], where: str) -> Examples:
        t, limit = self.tokenizer, self.limit
        source, cut_source = truncate(t.encode_batch([r["source"] for r in rows]), limit)
        target, cut_target = truncate(t.encode_batch([r["target"] for r in rows]), limit)
        streams = {
            "source": RaggedStore.of([t.source.fill(ids)[0] for ids in source]),
            "target": RaggedStore.of([[self.start, *t.source.fill(ids)[0]] for ids in target]),
        }
        sizes = streams["source"].sizes + streams["target"].sizes - 1
        return Examples(streams, sizes, rows, cut_source + cut_target)

    @property
    def limit(self) -> int | None:
        """Tokens of a text, <bos> and <eos> not counted."""
        sides = (at(self.model.spec, f"{side}.max_len") for side in ("encoder", "decoder"))
        found = [self.config.data.max_len, *(n - 2 for n in sides if n is not None)]
        return min((n for n in found if n is not None), default=None)

    @property
    def start(self) -> int:
        """What the decoder reads first."""
        known = self.model.origin.ids if self.model.origin is not None else {}  # type: ignore[union-attr]
        return known.get("decoder_start", self.tokenizer.bos)

    def count(self, batch: Batch) -> int:
        target = batch["target"]
        return int(target.lengths.sum()) - len(target.lengths)

    def run(self, model, batch, key, label_smoothing):
        targets = all_but_first(batch["target"]).values
        return model(batch["source"], all_but_last(batch["target"]), targets=targets, key=key,
                     label_smoothing=label_smoothing)  # fmt: skip

    @torch.no_grad()
    def scores(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Loss, next-token accuracy, and on the first `evaluation.generate` examples exact match and BLEU."""
        total = right = count = 0.0
        for batch in self.batches(examples):
            wanted = all_but_first(batch["target"]).values
            out = model(batch["source"], all_but_last(batch["target"]))
            total += float(nn.functional.cross_entropy(out.logits, wanted, reduction="sum"))
            right, count = right + float((out.logits.argmax(-1) == wanted).sum()), count + len(wanted)
        metrics = {"loss": total / max(count, 1), "token_accuracy": right / max(count, 1)}
        if n := min(self.config.evaluation.generate, len(examples)):
            metrics |= self.text_scores(
                self.translate(model, [r["source"] for r in examples.rows[:n]]), examples.rows[:n]
            )
        return metrics

    def text_scores(self, outputs: list[str], rows: list[dict[str, Any]]) -> dict[str, Any]:
        """exact_match (a fraction) and sacreBLEU's BLEU and chrF (0 to 100)."""
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        references = [unicodedata.normalize("NFC", r["target"]) for r in rows]  # capitals count, whatever the tokenizer
        exact = sum(o == r for o, r in zip(outputs, references)) / max(len(rows), 1)
        bleu, chrf = BLEU(), CHRF()
        return {
            "exact_match": exact,
            "bleu": bleu.corpus_score(outputs, [references]).score,
            "chrf": chrf.corpus_score(outputs, [references]).score,
        }

    @torch.no_grad()
    def translate(self, model: Any, sources: list[str], **options: Any) -> list[str]:
        """Texts for texts, in order; like lengths are decoded together."""
        t, options = self.tokenizer, self.generation() | options
        encoded, cut = truncate(t.encode_batch(sources), self.limit)
        self.cut += cut
        ids = [torch.tensor(t.source.fill(i)[0]) for i in encoded]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        outputs = [""] * len(ids)
        width = max(1, 128 // options.get("beams", 8))
        for start in range(0, len(order), width):
            part = order[start : start + width]
            tokens = nn.utils.rnn.pad_sequence([ids[i] for i in part], batch_first=True)
            mask = torch.arange(tokens.shape[1]) < torch.tensor([len(ids[i]) for i in part])[:, None]
            new = generate(model, tokens, mask=mask, bos=self.start, **options)
            for i, row in zip(part, new.tolist()):
                outputs[i] = t.decode(until_end(row, self.ends))
        return outputs

    def samples(self, model: nn.Module) -> list[dict[str, Any]]:
        """The first validation examples with their translation and what the decoder looked at."""
        rows = self.val.rows[: self.config.evaluation.samples]
        model.eval()
        outputs = self.translate(model, [r["source"] for r in rows], beams=1)
        made = [
            {"source": r["source"], "target": r["target"], "prediction": o} | self.alignment(model, r["source"], o)
            for r, o in zip(rows, outputs)
        ]
        model.train()
        return made

    @torch.no_grad()
    def alignment(self, model: nn.Module, source: str, output: str) -> dict[str, Any]:
        """Cross-attention of the last decoder layer, mean over heads: (output tokens, source tokens)."""
        t = self.tokenizer
        s, o = t.source.fill(t.encode(source))[0], [self.start, *t.encode(output)]
        path = f"decoder.layers.{self.model.spec.decoder.n_layers - 1}.cross"  # type: ignore[attr-defined]
        out = model(torch.tensor([s]), torch.tensor([o]), capture=(path,))
        weights = out.captures[path][0].mean(0)
        return {
            "alignment": [[round(w, 4) for w in row] for row in weights.tolist()],
            "source_tokens": t.pieces(s),
            "prediction_tokens": [*t.pieces(o[1:]), "<eos>"],
        }

    def predict(self, rows: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
        outputs = self.translate(self.model, [r["source"] for r in rows], **options)
        return [{"source": r["source"], "prediction": o} for r, o in zip(rows, outputs)]

    def evaluate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Final scores on generated texts, with sacreBLEU's signature."""
        from sacrebleu.metrics.bleu import BLEU

        examples = self.encode(rows, "test")
        metrics: dict[str, Any] = {"examples": len(rows), **self.with_generation(examples)}
        bleu = BLEU()
        bleu.corpus_score(["a"], [["a"]])
        return metrics | {"signature": str(bleu.get_signature())}

    def with_generation(self, examples: Examples) -> dict[str, float]:
        everything = self.config.evaluation.model_copy(update={"generate": len(examples)})
        config, self.config = self.config, self.config.model_copy(update={"evaluation": everything})
        try:
            return self.scores(self.model, examples)
        finally:
            self.config = config
