"""Sequence to sequence: translation and everything that rewrites one text as another (encoder-decoder)."""

from __future__ import annotations

import unicodedata
from typing import Any

import torch
from torch import nn

from jorip.data.store import RaggedStore
from jorip.tasks.examples import Examples
from jorip.tasks.pairs import Pairs


class Translate(Pairs):
    """Roles source and target, one shared vocabulary."""

    name = "translate"
    roles = ("source", "target")
    metrics = {"loss": "min", "token_accuracy": "max", "exact_match": "max", "bleu": "max"}

    def encode(self, rows: list[dict[str, Any]], where: str) -> Examples:
        t, limit = self.tokenizer, self.limit
        sources, targets = (t.encode_batch([r[role] for r in rows]) for role in self.roles)
        cut = sum(limit is not None and max(len(s), len(t)) > limit for s, t in zip(sources, targets))
        made = [self.streams(s[:limit], t[:limit]) for s, t in zip(sources, targets)]
        streams = {name: RaggedStore.of([m[name] for m in made]) for name in ("source", "target")}
        sizes = streams["source"].sizes + streams["target"].sizes - 1
        return Examples(streams, sizes, rows, cut)

    @torch.no_grad()
    def scores(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Loss, next-token accuracy, and on the first `evaluation.generate` examples exact match and BLEU."""
        metrics = super().scores(model, examples)
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
        """Texts for texts, in order."""
        made = self.answers(model, self.tokenizer.encode_batch(sources), **options)
        return [self.tokenizer.decode(ids) for ids in made]

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
        path = f"decoder.layers.{self.spec.decoder.n_layers - 1}.cross"
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
