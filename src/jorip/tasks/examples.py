"""Encoded examples: named ragged streams of the same rows, ready to be packed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from jorip.core.layout import Packed
from jorip.data.store import RaggedStore

Batch = Mapping[str, Packed]


@dataclass
class Examples:
    """streams: by name; sizes (n,): tokens of each example for the batch budget; rows: the raw rows, for people;
    truncated: how many were cut at max_len."""

    streams: dict[str, RaggedStore]
    sizes: Tensor
    rows: list[dict[str, Any]] = field(default_factory=list)
    truncated: int = 0

    def __len__(self) -> int:
        return len(self.sizes)

    def take(self, ids: list[int]) -> Batch:
        return {name: store.take(ids) for name, store in self.streams.items()}

    def digest(self) -> str:
        """sha256 over everything that training sees."""
        h = hashlib.sha256()
        for name, store in sorted(self.streams.items()):
            h.update(f"{name} {store.fingerprint()}".encode())
        return h.hexdigest()


def all_but_last(p: Packed) -> Packed:
    """Each sequence without its last entry: what a decoder reads."""
    return _without(p, p.lengths.cumsum(0) - 1)


def all_but_first(p: Packed) -> Packed:
    """Each sequence without its first entry: what a decoder should say."""
    return _without(p, p.lengths.cumsum(0) - p.lengths)


def _without(p: Packed, index: Tensor) -> Packed:
    kept = torch.ones(len(p.values), dtype=torch.bool)
    kept[index] = False
    return Packed(p.values[kept], p.lengths - 1, p.uid)


def truncate(ids: list[list[int]], max_len: int | None) -> tuple[list[list[int]], int]:
    """Cut to max_len each; and how many were cut."""
    if max_len is None:
        return ids, 0
    return [i[:max_len] for i in ids], sum(len(i) > max_len for i in ids)
