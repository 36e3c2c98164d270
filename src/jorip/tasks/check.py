"""`check`: reads the data as training would and says what it would meet, before anything is trained."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch

from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.core.cost import Shape
from jorip.core.errors import DataError, JoripError
from jorip.data.check import duplicates, labels, lengths, padding, unknown_rate
from jorip.data.quarantine import Quarantine
from jorip.data.source import Source
from jorip.data.tokenizers import Tokenizer
from jorip.tasks.base import Task
from jorip.tasks.config import RunConfig
from jorip.tasks.registry import task_class

UNKNOWN_TOO_MANY = 0.02  # of the tokens: beyond this a tokenizer does not fit its text


@dataclass
class CheckReport:
    """sections of facts by name; warnings: what deserves a look; problems: what training would refuse."""

    sections: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {**self.sections, "warnings": self.warnings, "problems": self.problems}


def check(config: RunConfig, console: Any = None) -> CheckReport:
    """Everything about a run that can be known without training. Faults of the data become `problems`; a wrong
    configuration raises ConfigError."""
    report, cls = CheckReport(), task_class(config.task)
    rows = {
        name: found for name, source in splits(config).items() if (found := read(cls, config, name, source, report))
    }
    if "train" not in rows:
        return report
    try:
        spec, tokenizer, names, _ = cls.begin(config, rows["train"])
        report.sections["tokenizer"] = {"kind": tokenizer.kind, "vocabulary": tokenizer.vocab_size}
        if names:
            found = labels({name: all_labels(cls, r) for name, r in rows.items()})
            report.sections["labels"] = {**found.counts["train"], "majority accuracy": round(found.majority, 4)}
    except DataError as e:
        report.problems.append(str(e))
        return report
    with torch.device("meta"):
        task = cls(config, tokenizer, names, spec.build(device="meta"))
    _ = task.selects
    for name, found in rows.items():
        describe(task, name, found, rows["train"], report)
    cost(task, report)
    return report


def splits(config: RunConfig) -> dict[str, Source]:
    return {"train": config.data.train, "val": config.data.val, **config.data.test}


def read(cls: type[Task], config: RunConfig, name: str, source: Source, report: CheckReport) -> list[dict[str, Any]]:
    quarantine = Quarantine()
    try:
        rows = cls.read(source, config, quarantine)
    except JoripError as e:
        report.problems.append(f"{name}: {e}")
        return []
    report.sections[name] = {"rows": len(rows), "bad rows": quarantine.total}
    if quarantine.total:
        report.warnings.append(f"{name}: {quarantine.total} bad rows will be put aside (quarantine.jsonl)")
    return rows


def all_labels(cls: type[Task], rows: list[dict[str, Any]]) -> list[str]:
    role = cls.roles[-1]
    return [v for r in rows for v in (r[role] if isinstance(r[role], list) else [r[role]]) if v is not None]


def describe(
    task: Task, name: str, rows: list[dict[str, Any]], train: list[dict[str, Any]], report: CheckReport
) -> None:
    """Lengths, truncation, unknown tokens, copies of training rows."""
    facts, t, limit = report.sections[name], task.tokenizer, task.limit
    try:
        examples = task.encode(rows, name)
    except JoripError as e:
        report.problems.append(str(e))
        return
    sizes = lengths(examples.sizes, limit)
    facts |= {
        "tokens": sizes.tokens,
        "shortest": sizes.min,
        "median": sizes.median,
        "95 %": sizes.p95,
        "longest": sizes.max,
    }
    facts["cut at max_len"] = examples.truncated
    if examples.truncated:
        report.warnings.append(f"{name}: {examples.truncated} of {len(rows)} examples are cut at max_len {limit}")
    texts = [x for r in rows[:2000] for x in task.texts([r])]
    rate = unknown_rate(unknown_ids(t, texts), t.unk)
    facts["unknown tokens"] = round(rate, 5)
    if rate > UNKNOWN_TOO_MANY:
        report.warnings.append(
            f"{name}: {rate:.1%} of the tokens are unknown: take a tokenizer with pieces (bpe, unigram)"
        )
    if name != "train":
        key = task.roles[0]
        copies = duplicates((text(r[key]) for r in train), (text(r[key]) for r in rows))
        facts["also in training"] = copies
        if copies > len(rows) / 100:
            report.warnings.append(f"{name}: {copies} of {len(rows)} rows also stand in training: scores will flatter")
    else:
        task.train = examples
        padded = padding(examples.sizes, task.config.data.tokens)
        facts |= {"batches": padded.batches, "padding in attention": round(padded.buckets, 4),
                  "padding without buckets": round(padded.random, 4)}  # fmt: skip


def text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)


def unknown_ids(t: Tokenizer, texts: list[Any]) -> torch.Tensor:
    """(tokens,) of texts, which may come as lists of words."""
    ids = [i for x in texts for i in (t.encode(x) if isinstance(x, str) else t.encode_words(x)[0])]
    return torch.tensor(ids, dtype=torch.int64)


def cost(task: Task, report: CheckReport) -> None:
    """Parameters, work and memory of one step, and whether they fit."""
    spec, data, train = task.model.spec, task.config.data, task.train
    if not len(train):
        return
    typical = max(1, int(train.sizes.float().mean()))
    count = max(1, data.tokens // typical)
    sides = 2 if isinstance(spec, EncoderDecoder) else 1
    tree = spec.cost(Shape(count, max(1, typical // sides), max(1, typical // sides)))
    tokens = int(train.sizes.sum())
    counted = tree.memory()
    memory = counted.training + counted.optimizer  # of a step over one batch
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    report.sections["cost"] = {
        "parameters": tree.total_parameters,
        "training tokens": tokens,
        "GFLOPs a step": round(6 * tree.total.macs / 1e9, 3),  # forward and twice that backward
        "memory of a step, MiB": memory // 2**20,
        "memory of this machine, MiB": available and available // 2**20,
    }
    if available and memory > 0.9 * available:
        report.problems.append(
            f"a step needs about {memory / 2**30:.1f} GiB and this machine has {available / 2**30:.1f}: "
            "lower data.tokens, set training.micro_tokens, or take a smaller model"
        )
    if tree.total_parameters > 5 * tokens:
        report.warnings.append(
            f"{tree.total_parameters / 1e6:.1f} M parameters for {tokens / 1e6:.2f} M training tokens: "
            "expect overfitting; more dropout, fewer layers, training.patience"
        )
