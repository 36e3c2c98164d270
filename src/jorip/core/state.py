"""What a model remembers between calls: explicit objects, one per mixer, kept by path.

A state knows how to `select` rows of the batch (beams, finished sequences), to `snapshot` and `restore` itself (for
what cannot be cut back), and how many bytes it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from jorip.core.layout import Layout


@dataclass
class State:
    """Base: every tensor field has the batch first."""

    def select(self, rows: Tensor) -> None:
        """Keep these batch rows, in this order; rows (n,) int64, repeats allowed."""
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                setattr(self, f.name, value.index_select(0, rows))

    def snapshot(self) -> Self:
        """A copy that later calls do not change."""
        return type(self)(**{f.name: _copy(getattr(self, f.name)) for f in fields(self)})

    def restore(self, saved: Self) -> None:
        """Back to a snapshot, which stays usable."""
        for f in fields(self):
            setattr(self, f.name, _copy(getattr(saved, f.name)))

    @property
    def nbytes(self) -> int:
        values = (getattr(self, f.name) for f in fields(self))
        return sum(v.nbytes for v in values if isinstance(v, Tensor))


def _copy(value):
    if isinstance(value, Tensor):
        return value.clone()
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, dict) else value


@dataclass(frozen=True)
class Kept:
    """The keys that a state holds, seen as one side of a mask: left-aligned, from each sequence's first row."""

    lengths: Tensor
    longest: int
    start: Tensor | None = None

    batch = property(lambda s: s.lengths.shape[0])
    full = property(lambda s: bool((s.lengths == s.longest).all()))
    real = property(Layout.real.fget)
    grid_order = property(Layout.grid_order.fget)


@dataclass
class KeyValue(State):
    """Preallocated streams (keys, values ...) of all rows so far: each (batch, capacity, heads, dim); lengths (batch,).

    Written in place while nothing needs gradients, by copy otherwise. Grows by doubling past its capacity.
    """

    streams: dict[str, Tensor]
    lengths: Tensor

    @staticmethod
    def empty(batch: int, capacity: int, shapes: dict[str, tuple[int, int]], dtype, device=None) -> KeyValue:
        streams = {n: torch.zeros(batch, capacity, h, d, dtype=dtype, device=device) for n, (h, d) in shapes.items()}
        return KeyValue(streams, torch.zeros(batch, dtype=torch.int64, device=device))

    def append(self, rows: dict[str, Tensor], at: Layout) -> tuple[dict[str, Tensor], Kept]:
        """Adds rows (rows, heads, dim) of each stream; returns all of them as (batch, heads, longest, dim) views."""
        total = at.total
        longest = int(total.max()) if at.batch else 0
        self.grow(longest)
        for name, new in rows.items():
            new = new.to(self.streams[name].dtype)  # under autocast the projections are narrower than what is kept
            if torch.is_grad_enabled():
                self.streams[name] = self.streams[name].index_put((at.sample, at.order), new)
            else:
                self.streams[name].index_put_((at.sample, at.order), new)
        self.lengths = total
        views = {n: self.streams[n][:, :longest].transpose(1, 2) for n in rows}
        return views, Kept(total, longest)

    def grow(self, needed: int) -> None:
        for name, old in self.streams.items():
            if needed > old.shape[1]:
                more = max(needed, 2 * old.shape[1]) - old.shape[1]
                self.streams[name] = torch.cat([old, old.new_zeros(old.shape[0], more, *old.shape[2:])], 1)

    def select(self, rows: Tensor) -> None:
        longest = int(self.lengths.max()) if len(self.lengths) else 0  # only the used part is copied
        moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        for name, old in self.streams.items():
            if (
                len(rows) <= len(old) and not torch.is_grad_enabled()
            ):  # in place, which saves fresh memory at every step
                old[moved, :longest] = old[rows[moved], :longest]
                self.streams[name] = old[: len(rows)]
            else:
                new = old.new_zeros(len(rows), *old.shape[1:])  # zeros: what is beyond must stay finite
                new[:, :longest] = old[:, :longest].index_select(0, rows)
                self.streams[name] = new
        self.lengths = self.lengths[rows]

    @property
    def nbytes(self) -> int:
        return sum(s.nbytes for s in self.streams.values()) + self.lengths.nbytes


@dataclass
class Source(State):
    """A memory's keys and values, computed at the first step and held once per source however many beams read it.

    streams: each (sources, heads, longest, dim), None before the first step; source (batch,): which source a row reads;
    per_source: how many rows read each source when these are next to each other and equally many, else None.
    """

    streams: dict[str, Tensor] | None
    at: Layout | None
    source: Tensor
    per_source: int | None = 1

    @staticmethod
    def empty(batch: int, device=None) -> Source:
        return Source(None, None, torch.arange(batch, device=device))

    def keep(self, streams: dict[str, Tensor], at: Layout) -> None:
        """The streams of every source, (sources, heads, longest, dim), and where their rows are."""
        self.streams, self.at = streams, at

    def read(self) -> dict[str, Tensor]:
        """The streams for each row of the batch: themselves while every row reads its own source, else copies."""
        streams = self.streams or {}
        return streams if self.per_source == 1 else {n: g[self.source] for n, g in streams.items()}

    def span(self) -> Kept:
        """Where the keys that `read` returns are."""
        assert self.at is not None
        return Kept(self.at.lengths[self.source], self.at.longest)

    def select(self, rows: Tensor) -> None:
        """Sources that no row reads any more are let go."""
        self.source = self.source[rows]
        if self.at is not None:
            left = self.source.unique()  # sorted
            if len(left) < self.at.batch:
                self.streams = {n: g.index_select(0, left) for n, g in (self.streams or {}).items()}
                self.at = Layout.of(self.at.lengths[left], self.at.uid[left])
                longest = self.at.longest
                self.streams = {n: g[:, :, :longest] for n, g in self.streams.items()}
                self.source = torch.searchsorted(left, self.source)
        sources = len(self.source) if self.at is None else self.at.batch
        each = len(self.source) // max(sources, 1)
        regular = torch.arange(sources, device=rows.device).repeat_interleave(each)
        self.per_source = each if torch.equal(regular, self.source) else None

    def snapshot(self) -> Source:
        return Source(self.streams, self.at, self.source.clone(), self.per_source)  # the memory itself never changes

    def restore(self, saved: Source) -> None:
        self.streams, self.at, self.per_source = saved.streams, saved.at, saved.per_source
        self.source = saved.source.clone()

    @property
    def nbytes(self) -> int:
        return sum(s.nbytes for s in (self.streams or {}).values()) + self.source.nbytes


@dataclass
class ModelState:
    """All states of a model, by path, and how many rows each sequence has had."""

    parts: dict[str, State]
    lengths: Tensor

    def select(self, rows: Tensor) -> None:
        for part in self.parts.values():
            part.select(rows)
        self.lengths = self.lengths[rows]

    def snapshot(self) -> ModelState:
        return ModelState({p: s.snapshot() for p, s in self.parts.items()}, self.lengths.clone())

    def restore(self, saved: ModelState) -> None:
        for path, part in self.parts.items():
            part.restore(saved.parts[path])
        self.lengths = saved.lengths.clone()

    @property
    def nbytes(self) -> int:
        return sum(p.nbytes for p in self.parts.values())
