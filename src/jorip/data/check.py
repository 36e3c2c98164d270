"""What `jorip check` says about data before anybody trains: counts, lengths, truncation, padding, labels, leaks."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from jorip.core.errors import DataError, did_you_mean
from jorip.data.batches import plan_batches


@dataclass(frozen=True)
class _Plain:
    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Lengths(_Plain):
    """Tokens an example; 95 % of the examples have at most `p95`; `truncated` of them are longer than `max_len`."""

    examples: int
    tokens: int
    min: int
    median: int
    p95: int
    max: int
    max_len: int | None
    truncated: int


def lengths(sizes: Tensor | Sequence[int], max_len: int | None = None) -> Lengths:
    """sizes (examples,) before any truncation."""
    sizes = torch.as_tensor(sizes, dtype=torch.int64)
    if len(sizes) == 0:
        return Lengths(0, 0, 0, 0, 0, 0, max_len, 0)
    ordered = sizes.sort().values
    median, p95 = (int(ordered[max(0, -(-len(ordered) * p // 100) - 1)]) for p in (50, 95))
    cut = 0 if max_len is None else int((sizes > max_len).sum())
    return Lengths(len(sizes), int(sizes.sum()), int(ordered[0]), median, p95, int(ordered[-1]), max_len, cut)


@dataclass(frozen=True)
class Padding(_Plain):
    """Share of slots that would hold padding if batches of `tokens` were padded: as drawn, and with length buckets.

    jorip packs, so that linear layers see none of it; attention's grid does.
    """

    random: float
    buckets: float
    batches: int


def padding(sizes: Tensor | Sequence[int], tokens: int, seed: int = 0) -> Padding:
    """sizes (examples,) as fed; tokens as in the batch budget."""
    sizes = torch.as_tensor(sizes, dtype=torch.int64)
    plans = [plan_batches(sizes, tokens, seed, 0, bucket=bucket) for bucket in (0, 32)]
    return Padding(padded_share(sizes, plans[0]), padded_share(sizes, plans[1]), len(plans[1]))


def padded_share(sizes: Tensor, plan: Sequence[Sequence[int]]) -> float:
    """1 - real tokens / slots over the batches of a plan."""
    slots = real = 0
    for ids in plan:
        mine = sizes[torch.tensor(ids)]
        slots += int(mine.max()) * len(ids)
        real += int(mine.sum())
    return 1 - real / slots if slots else 0.0


def unknown_rate(values: Tensor, unk: int) -> float:
    """Share of tokens (rows,) that the tokenizer does not know."""
    return float((values == unk).double().mean()) if len(values) else 0.0


@dataclass(frozen=True)
class Labels(_Plain):
    """names: the labels in order of their ids (sorted); counts of each split; `majority`: accuracy of the most frequent
    training label on the last split, which a model has to beat."""

    names: list[str]
    counts: dict[str, dict[str, int]]
    majority: float


def labels(splits: dict[str, Iterable[str]]) -> Labels:
    """{"train": labels, "val": ..., ...}, training first.

    DataError when training has one class only, or another split has a label that training never shows.
    """
    counts = {name: Counter(values) for name, values in splits.items()}
    first, train = next(iter(counts.items()))
    if len(train) < 2:
        found = f"only the label {next(iter(train))!r}" if train else "no labels"
        raise DataError(f"{first}: has {found}; a classifier needs two classes at least (is it the right column?)")
    for name, count in counts.items():
        if unseen := sorted(set(count) - set(train)):
            listed = ", ".join(f"{u!r} ({count[u]} times)" for u in unseen[:10])
            more = f" and {len(unseen) - 10} more" if len(unseen) > 10 else ""
            tail = did_you_mean(unseen[0], train) if len(unseen) == 1 else ""
            raise DataError(f"{name}: labels that {first} never shows: {listed}{more}{tail}")
    last = list(counts.values())[-1]
    majority = last[max(sorted(train), key=lambda label: train[label])] / max(1, sum(last.values()))
    return Labels(sorted(train), {n: {k: c[k] for k in sorted(train)} for n, c in counts.items()}, majority)


def duplicates(train: Iterable[str], other: Iterable[str]) -> int:
    """How many of the `other` texts also stand in training, compared after NFC and with single spaces."""
    known = {_plain(text) for text in train}
    return sum(_plain(text) in known for text in other)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


@dataclass(frozen=True)
class SplitCheck(_Plain):
    """One split: rows kept, rows put aside, rows that also stand in training, and each stream of tokens."""

    rows: int
    bad_rows: int
    in_training: int
    streams: dict[str, Lengths] = field(default_factory=dict)
    unknown: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DataCheck(_Plain):
    """Everything about the data of a run."""

    splits: dict[str, SplitCheck]
    padding: Padding | None = None
    labels: Labels | None = None
