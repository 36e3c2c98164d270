"""Text classification: one label for a text or a pair of texts (encoder only)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.architectures.hierarchy.hierarchical import Hierarchical
from jorip.core.errors import ConfigError
from jorip.core.layout import Packed
from jorip.data.store import RaggedStore
from jorip.parts.readout.classifier import Classifier
from jorip.tasks.decide import Decide
from jorip.tasks.examples import Batch, Examples
from jorip.tasks.labels import decision_scores, label_ids, label_names
from jorip.tasks.long import head, head_tail, windows


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

    @classmethod
    def begin(cls, config, train):
        spec, *others = super().begin(config, train)
        if config.data.long == "hierarchical" and not isinstance(spec, Hierarchical):
            if type(spec) is not Encoder:
                raise ConfigError(
                    f"data.long: hierarchical stands on an encoder, found a {spec.kind}, whose tokens see what is "
                    "before them only: take windows, head_tail or head, or start from an encoder"
                )
            spec = Hierarchical(**{name: getattr(spec, name) for name in type(spec).model_fields})
        return spec, *others

    def encode(self, rows: list[dict[str, Any]], where: str) -> Examples:
        streams = {}
        if self.config.data.long in ("windows", "hierarchical"):
            inputs, lengths, segments, cut = *self.parts(rows), [], 0
            streams["windows"] = RaggedStore.of(lengths)
        else:
            inputs, segments, cut = self.inputs(rows)
        streams["inputs"] = RaggedStore.of(inputs)
        if self.config.data.pair:
            streams["segments"] = RaggedStore.of(segments)
        if all("label" in r for r in rows):
            labels = label_ids((r["label"] for r in rows), self.labels, rows, where)
            streams["targets"] = RaggedStore.of([[i] for i in labels])
        return Examples(streams, streams["inputs"].sizes, rows, cut)

    def parts(self, rows: list[dict[str, Any]]) -> tuple[list[list[int]], list[list[int]]]:
        """The windows of each text one after the other, and their lengths."""
        t, data = self.tokenizer, self.config.data
        if data.pair:
            raise ConfigError("data.long: windows are of one text, and data.pair has two: take head or head_tail")
        if self.limit is None:
            raise ConfigError(f"data.long: {data.long} needs data.max_len, the length of a window")
        room = max(self.limit - t.single.extra, 1)
        inputs, lengths = [], []
        for ids in t.encode_batch([r["text"] for r in rows]):
            made = [t.with_specials(part)[0] for part in windows(ids, room, data.stride)]
            inputs.append([i for part in made for i in part])
            lengths.append([len(part) for part in made])
        return inputs, lengths

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
                shorten = head_tail if self.config.data.long == "head_tail" else head
                a, b = shorten(a, room - keep_b), shorten(b, keep_b)
            ids, parts = t.with_specials(a, b if self.config.data.pair else None)
            inputs.append(ids)
            segments.append(parts)
        return inputs, segments, cut

    def run(self, model, batch, key, label_smoothing):
        return model(self.read_of(batch), targets=batch["targets"].values, key=key, label_smoothing=label_smoothing,
                     **self.more(batch))  # fmt: skip

    def read_of(self, batch: Batch) -> Packed:
        """What the model reads: whole texts, or each window as a sequence with a name of its own."""
        if "windows" not in batch:
            return batch["inputs"]
        each = batch["windows"]
        place = torch.cat([torch.arange(n) for n in each.lengths.tolist()])
        uid = each.uid.repeat_interleave(each.lengths) * 1_000_003 + place
        return Packed(batch["inputs"].values, each.values, uid)

    def more(self, batch: Batch) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if self.has_segments and "segments" in batch:
            more["segments"] = batch["segments"]
        return more | ({"documents": batch["windows"].lengths} if "windows" in batch else {})

    @torch.no_grad()
    def scores(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        total, predicted, wanted = 0.0, [], []
        for batch in self.batches(examples):
            logits = model(self.read_of(batch), **self.more(batch)).logits
            targets = batch["targets"].values.long()
            total += float(nn.functional.cross_entropy(logits, targets, reduction="sum"))
            predicted.append(logits.argmax(-1))
            wanted.append(targets)
        scores = decision_scores(torch.cat(predicted), torch.cat(wanted), len(self.labels))
        return {"loss": total / max(len(examples), 1), **scores}

    @torch.no_grad()
    def predict(self, rows: list[dict[str, Any]], **_: Any) -> list[dict[str, Any]]:
        """prediction and the probability of every label; of a model with one class only the number it says."""
        if not rows:
            return []
        examples = self.encode([{k: v for k, v in r.items() if k != "label"} for r in rows], "predict")
        self.cut += examples.truncated
        made: list[dict[str, Any]] = [{} for _ in rows]
        for ids in self.plan_of(examples):
            batch = examples.take(ids)
            logits = self.model(self.read_of(batch), **self.more(batch)).logits
            for i, row in zip(ids, logits):
                made[i] = {"text": rows[i]["text"]} | self.decision(row)
        return made

    def decision(self, logits: Tensor) -> dict[str, Any]:
        """Of one text, logits (classes,). One class is a number, not a choice (a similarity, a rating); several
        that may hold together, as a checkpoint's `problem_type` can say, have a probability each."""
        if len(logits) == 1:
            return {"prediction": float(logits)}
        known = {} if self.model.origin is None else self.model.origin.config
        together = known.get("problem_type") == "multi_label_classification"
        p = (logits.sigmoid() if together else logits.softmax(-1)).tolist()
        best = max(range(len(p)), key=p.__getitem__)
        return {"prediction": self.labels[best], "probability": p[best], "probabilities": dict(zip(self.labels, p))}

    def evaluate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {"examples": len(rows), **self.scores(self.model, self.encode(rows, "test"))}
