"""Text classification: one label for a text or a pair of texts (encoder only)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.core.errors import ConfigError
from jorip.data.store import RaggedStore
from jorip.parts.readout.classifier import Classifier
from jorip.tasks.decide import Decide
from jorip.tasks.examples import Batch, Examples
from jorip.tasks.labels import decision_scores, label_ids, label_names


class Classify(Decide):
    """Roles text and label, for pairs (`data.pair: true`) also text2: <cls> text <sep> text2 <sep>, or as the tokenizer
    of a loaded model has it, with segments when the model has segment embeddings."""

    name = "classify"
    roles = ("text", "label")

    @classmethod
    def roles_of(cls, config):
        return ("text", "text2", "label") if config.data.pair else cls.roles

    @classmethod
    def texts(cls, rows):
        for row in rows:
            yield row["text"]
            if "text2" in row:
                yield row["text2"]

    @classmethod
    def find_labels(cls, rows):
        return label_names((r["label"] for r in rows), "train")

    @classmethod
    def complete(cls, spec, tokenizer, labels):
        if not isinstance(spec, Encoder):
            raise ConfigError(f"model: classify needs an encoder, found {spec.kind}: take encoder-small")
        fresh = Classifier(pool="last" if isinstance(spec, Decoder) else "mean")
        readout = spec.readout if isinstance(spec.readout, Classifier) else fresh
        return spec.override(
            {"vocab_size": tokenizer.vocab_size, "readout": readout.with_fields(n_classes=len(labels))}
        )

    def encode(self, rows: list[dict[str, Any]], where: str) -> Examples:
        inputs, segments, cut = self.inputs(rows)
        streams = {"inputs": RaggedStore.of(inputs)}
        if self.config.data.pair:
            streams["segments"] = RaggedStore.of(segments)
        if all("label" in r for r in rows):
            labels = label_ids((r["label"] for r in rows), self.labels, rows, where)
            streams["targets"] = RaggedStore.of([[i] for i in labels])
        return Examples(streams, streams["inputs"].sizes, rows, cut)

    def inputs(self, rows: list[dict[str, Any]]) -> tuple[list[list[int]], list[list[int]], int]:
        """Token ids, segment ids, and how many examples were cut at max_len (the longer text of a pair first)."""
        t, limit, cut = self.tokenizer, self.limit, 0
        extra = (t.pair if self.config.data.pair else t.single).extra
        first = t.encode_batch([r["text"] for r in rows])
        second = t.encode_batch([r.get("text2", "") for r in rows]) if self.config.data.pair else [[]] * len(rows)
        inputs, segments = [], []
        for a, b in zip(first, second):
            if limit is not None and len(a) + len(b) + extra > limit:
                cut += 1
                room = max(limit - extra, 0)
                keep_b = min(len(b), max(room - len(a), room // 2))
                a, b = a[: room - keep_b], b[:keep_b]
            ids, parts = t.with_specials(a, b if self.config.data.pair else None)
            inputs.append(ids)
            segments.append(parts)
        return inputs, segments, cut

    def run(self, model, batch, key, label_smoothing):
        return model(batch["inputs"], targets=batch["targets"].values, key=key, label_smoothing=label_smoothing,
                     **self.more(batch))  # fmt: skip

    def more(self, batch: Batch) -> dict[str, Any]:
        has = self.model.embedding.segments is not None  # type: ignore[union-attr]
        return {"segments": batch["segments"]} if has and "segments" in batch else {}

    @torch.no_grad()
    def scores(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        total, predicted, wanted = 0.0, [], []
        for batch in self.batches(examples):
            logits = model(batch["inputs"], **self.more(batch)).logits
            targets = batch["targets"].values.long()
            total += float(nn.functional.cross_entropy(logits, targets, reduction="sum"))
            predicted.append(logits.argmax(-1))
            wanted.append(targets)
        scores = decision_scores(torch.cat(predicted), torch.cat(wanted), len(self.labels))
        return {"loss": total / max(len(examples), 1), **scores}

    @torch.no_grad()
    def predict(self, rows: list[dict[str, Any]], **_: Any) -> list[dict[str, Any]]:
        """prediction and the probability of every label."""
        if not rows:
            return []
        examples = self.encode([{k: v for k, v in r.items() if k != "label"} for r in rows], "predict")
        self.cut += examples.truncated
        made: list[dict[str, Any]] = [{} for _ in rows]
        for ids in self.plan_of(examples):
            batch = examples.take(ids)
            probabilities = self.model(batch["inputs"], **self.more(batch)).logits.softmax(-1)
            for i, p in zip(ids, probabilities.tolist()):
                best = max(range(len(p)), key=p.__getitem__)
                made[i] = {
                    "text": rows[i]["text"],
                    "prediction": self.labels[best],
                    "probability": p[best],
                    "probabilities": dict(zip(self.labels, p)),
                }
        return made

    def evaluate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {"examples": len(rows), **self.scores(self.model, self.encode(rows, "test"))}
