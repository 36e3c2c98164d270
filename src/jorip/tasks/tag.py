"""Sequence labelling: one label per word (encoder only)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from jorip.architectures.encoder import Encoder
from jorip.core.errors import ConfigError
from jorip.data.store import RaggedStore
from jorip.data.tokenizer_template import PLAIN
from jorip.parts.readout.base import IGNORE
from jorip.parts.readout.tagger import Tagger
from jorip.tasks.decide import Decide
from jorip.tasks.examples import Batch, Examples
from jorip.tasks.labels import decision_scores, label_ids, label_names


class Tag(Decide):
    """Roles words and tags, lists of equal length. A word is read as one or more tokens; its first token is
    labelled. Loaded tokenizers put their special tokens around, ours none. A tag of None (built-in data have them)
    is no tag: nothing is learnt or scored there."""

    name = "tag"
    roles = ("words", "tags")
    lists = ("words", "tags")

    @classmethod
    def texts(cls, rows):
        for row in rows:
            yield row["words"]

    @classmethod
    def find_labels(cls, rows):
        return label_names((tag for r in rows for tag in r["tags"] if tag is not None), "train")

    @classmethod
    def complete(cls, spec, tokenizer, labels):
        if not isinstance(spec, Encoder):
            raise ConfigError(f"model: tag needs an encoder, found {spec.kind}: take encoder-small")
        return spec.override({"vocab_size": tokenizer.vocab_size, "readout": Tagger(n_classes=len(labels))})

    def encode(self, rows: list[dict[str, Any]], where: str) -> Examples:
        limit, cut, inputs, targets = self.limit, 0, [], []
        around = PLAIN if self.tokenizer.own else self.tokenizer.single
        room = None if limit is None else max(limit - around.extra, 0)
        for row in rows:
            ids, word_of = self.tokenizer.encode_words(row["words"])
            if room is not None and len(ids) > room:
                ids, word_of, cut = ids[:room], word_of[:room], cut + 1
            first = [i == 0 or word_of[i] != word_of[i - 1] for i in range(len(ids))]
            labels = self.tag_ids(row, where) if "tags" in row else None
            answers = [(labels[w] if labels else 0) if f else IGNORE for w, f in zip(word_of, first)]
            before, after = around.starts(len(ids))[0], around.extra
            inputs.append(around.fill(ids)[0])
            targets.append([IGNORE] * before + answers + [IGNORE] * (after - before))
        streams = {"inputs": RaggedStore.of(inputs), "targets": RaggedStore.of(targets)}
        return Examples(streams, streams["inputs"].sizes, rows, cut)

    def tag_ids(self, row: dict[str, Any], where: str) -> list[int]:
        """One per word, IGNORE where there is no tag."""
        known = [tag for tag in row["tags"] if tag is not None]
        ids = iter(label_ids(known, self.labels, [row] * len(known), where))
        return [IGNORE if tag is None else next(ids) for tag in row["tags"]]

    def count(self, batch: Batch) -> int:
        return int((batch["targets"].values != IGNORE).sum())

    def run(self, model, batch, key, label_smoothing):
        return model(batch["inputs"], targets=batch["targets"].values, key=key, label_smoothing=label_smoothing)

    @torch.no_grad()
    def scores(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """accuracy counts every word that has a tag, those beyond max_len as wrong."""
        total, predicted, wanted = 0.0, [], []
        for batch in self.batches(examples):
            targets = batch["targets"].values.long()
            first = targets != IGNORE
            logits = model(batch["inputs"]).logits[first]
            total += float(nn.functional.cross_entropy(logits, targets[first], reduction="sum"))
            predicted.append(logits.argmax(-1))
            wanted.append(targets[first])
        p, w = torch.cat(predicted), torch.cat(wanted)
        scores = decision_scores(p, w, len(self.labels))
        words = sum(tag is not None for r in examples.rows for tag in r["tags"])
        scores["accuracy"] *= len(w) / max(words, 1)
        return {"loss": total / max(len(w), 1), **scores}

    @torch.no_grad()
    def predict(self, rows: list[dict[str, Any]], **_: Any) -> list[dict[str, Any]]:
        """One label per word; None for words beyond max_len."""
        if not rows:
            return []
        examples = self.encode([{"words": r["words"], "row": r.get("row", 0)} for r in rows], "predict")
        self.cut += examples.truncated
        made: list[dict[str, Any]] = [{} for _ in rows]
        for ids in self.plan_of(examples):
            batch = examples.take(ids)
            best = self.model(batch["inputs"]).logits.argmax(-1)
            for i, labels, targets in zip(ids, best.split(batch["inputs"].lengths.tolist()), batch["targets"].split()):
                names: list[str | None] = [self.labels[k] for k in labels[targets != IGNORE].tolist()]
                names += [None] * (len(rows[i]["words"]) - len(names))
                made[i] = {"words": rows[i]["words"], "prediction": names}
        return made

    def evaluate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        words = sum(len(r["words"]) for r in rows)
        return {"examples": len(rows), "words": words, **self.scores(self.model, self.encode(rows, "test"))}
