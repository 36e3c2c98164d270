"""Extractive question answering: the part of a text that answers a question (encoder only; SQuAD, 1606.05250)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from jorip.architectures.encoder import Encoder
from jorip.core.errors import ConfigError, DataError
from jorip.data.readers import read_all
from jorip.data.store import RaggedStore
from jorip.parts.readout.spans import Spans
from jorip.tasks.answers import Window, best_span, scores, windows
from jorip.tasks.base import Task
from jorip.tasks.examples import Batch, Examples

LONGEST = 30  # tokens of an answer, as in BERT's own script


@dataclass
class WindowExamples(Examples):
    windows: list[Window] = field(default_factory=list)


class QuestionAnswering(Task):
    """Roles context and question; in training also `answers` (texts; none: the question has no answer) and, where the
    file says so, `starts` (their first characters; else the first place of each counts). A context that is longer than
    the limit is read in overlapping windows, `data.stride` tokens further each time.

    A question without an answer points at the first special token; so does a window that does not hold the answer."""

    name = "question_answering"
    recipe = "encoder-small"
    roles = ("context", "question")
    metrics = {"loss": "min", "exact_match": "max", "f1": "max"}

    @classmethod
    def complete(cls, spec, tokenizer, labels):
        if not isinstance(spec, Encoder):
            raise ConfigError(f"model: question_answering needs an encoder, found {spec.kind}: take encoder-small")
        readout = spec.readout if isinstance(spec.readout, Spans) else Spans()
        return spec.override({"vocab_size": tokenizer.vocab_size, "readout": readout})

    @classmethod
    def read(cls, source, config, quarantine=None):
        lists = ("answers", "starts")
        more = {"optional": lists, "lists": lists, "whole": lists}
        rows = read_all(source, cls.roles, base=config.base, quarantine=quarantine, **more)
        return [row | {"starts": places(row)} for row in rows]

    def encode(self, rows: list[dict[str, Any]], where: str) -> Examples:
        data, made = self.config.data, []
        for i, row in enumerate(rows):
            made += windows(i, self.tokenizer, row["question"], row["context"], self.limit, data.stride)
        streams = {"inputs": RaggedStore.of([w.ids for w in made])}
        if self.has_segments:
            streams["segments"] = RaggedStore.of([w.segments for w in made])
        if where != "predict":
            streams["targets"] = RaggedStore.of([list(target(w, rows[w.row])) for w in made])
        cut = len({w.row for w in made if w.cut})
        return WindowExamples(streams, streams["inputs"].sizes, rows, cut, windows=made)

    def more(self, batch: Batch) -> dict[str, Any]:
        return {"segments": batch["segments"]} if "segments" in batch else {}

    def count(self, batch: Batch) -> int:
        return int(batch["targets"].lengths.sum())

    def run(self, model, batch, key, label_smoothing):
        targets = batch["targets"].values.view(-1, 2)
        return model(batch["inputs"], targets=targets, key=key, label_smoothing=label_smoothing, **self.more(batch))

    @torch.no_grad()
    def scores(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Loss, and exact match and F1 of the answers in words, as SQuAD's script counts them."""
        found = [r["prediction"] for r in self.answers(model, examples)]
        return super().scores(model, examples) | scores(found, examples.rows)

    @torch.no_grad()
    def answers(self, model: nn.Module, examples: Examples) -> list[dict[str, Any]]:
        """For each question the likeliest answer of all its windows; empty when no answer is likelier."""
        assert isinstance(examples, WindowExamples)
        best: list[tuple[float, float, str]] = [(float("-inf"), float("inf"), "")] * len(examples.rows)
        for ids in self.plan_of(examples):
            batch = examples.take(ids)
            logits = model(batch["inputs"], **self.more(batch)).logits
            for i, part in zip(ids, logits.split(batch["inputs"].lengths.tolist())):
                w = examples.windows[i]
                if not w.offsets:
                    continue
                score, start, end = best_span(part, w, LONGEST)
                none = float(part[0].sum())
                before, least, text = best[w.row]
                text = examples.rows[w.row]["context"][start:end] if score > before else text
                best[w.row] = (max(score, before), min(none, least), text)
        return [
            {"question": r["question"], "prediction": text if score > none or not self.may_refuse else "",
             "score": score - none}
            for r, (score, none, text) in zip(examples.rows, best)
        ]  # fmt: skip

    @property
    def may_refuse(self) -> bool:
        """Whether training showed questions without an answer."""
        return any(not r.get("answers") for r in self.train.rows) or "unanswered" in self.labels

    @classmethod
    def find_labels(cls, rows):
        return ["unanswered"] if any(not r.get("answers") for r in rows) else []

    def predict(self, rows: list[dict[str, Any]], **_: Any) -> list[dict[str, Any]]:
        """prediction (empty: the text has no answer, for models that saw such questions) and how much likelier it is
        than none."""
        if not rows:
            return []
        examples = self.encode(rows, "predict")
        self.cut += examples.truncated
        return self.answers(self.model, examples)

    def evaluate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {"examples": len(rows), **self.scores(self.model, self.encode(rows, "test"))}

    def samples(self, model: nn.Module) -> list[dict[str, Any]]:
        rows = self.val.rows[: self.config.evaluation.samples]
        if not rows:
            return []
        model.eval()
        found = self.answers(model, self.encode(rows, "predict"))
        model.train()
        return [
            {"source": r["question"], "target": (r.get("answers") or [""])[0], "prediction": f["prediction"]}
            for r, f in zip(rows, found)
        ]


def places(row: dict[str, Any]) -> list[int]:
    """First characters of the answers. Raises DataError for an answer that is not in its context."""
    answers, starts = row.get("answers", []), row.get("starts")
    if starts is not None:
        return [int(s) for s in starts]
    found = [row["context"].find(a) for a in answers]
    if -1 in found:
        raise DataError(
            f"row {row['row']}: the answer {answers[found.index(-1)]!r} does not stand in the context: answers must be "
            "parts of the text, letter by letter"
        )
    return found


def target(window: Window, row: dict[str, Any]) -> tuple[int, int]:
    """The first answer that lies in the window, else the first special token."""
    for text, start in zip(row.get("answers", []), row.get("starts", [])):
        place = window.place(start, start + len(text))
        if place != (0, 0):
            return place
    return 0, 0
