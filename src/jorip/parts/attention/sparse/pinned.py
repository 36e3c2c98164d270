"""The decoding state of windows with sinks: the first rows for ever, and a ring of the last ones (StreamingLLM,
2309.17453), O(first + window) however long the sequence is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jorip.core.layout import Layout
from jorip.core.state import State
from jorip.parts.attention.sparse.rolling import Held, Rolling


@dataclass
class Pinned(State):
    """streams: the first rows, each (batch, first, heads, dim); ring: the last ones."""

    streams: dict[str, Tensor]
    ring: Rolling

    @staticmethod
    def empty(batch: int, capacity: int, first: int, window: int, shapes, dtype, device=None) -> Pinned:
        streams = {n: torch.zeros(batch, first, h, d, dtype=dtype, device=device) for n, (h, d) in shapes.items()}
        return Pinned(streams, Rolling.empty(batch, capacity, window, shapes, dtype, device))

    @property
    def lengths(self) -> Tensor:
        return self.ring.lengths

    @property
    def first(self) -> int:
        return next(iter(self.streams.values())).shape[1]

    def append(self, rows: dict[str, Tensor], at: Layout) -> tuple[dict[str, Tensor], Layout | Held]:
        """As `Rolling.append`; the first rows come first, and once."""
        chosen = (at.order < self.first).nonzero()[:, 0]
        for name, new in rows.items():
            where = (at.sample[chosen], at.order[chosen])
            self.streams[name] = self.streams[name].index_put(where, new[chosen].to(self.streams[name].dtype))
        views, k_at = self.ring.append(rows, at)
        if isinstance(k_at, Layout):  # a whole sequence at once: everything is there
            return views, k_at
        order = k_at.grid_order.masked_fill(k_at.grid_order < self.first, -1)
        pinned = torch.arange(self.first, device=order.device)
        pinned = pinned.masked_fill(pinned >= at.total[:, None], -1).expand(at.batch, -1)
        keys = {n: torch.cat([self.streams[n].transpose(1, 2), v], 2) for n, v in views.items()}
        return keys, Held.of(torch.cat([pinned, order], 1))

    def select(self, rows: Tensor) -> None:
        self.streams = {n: s.index_select(0, rows) for n, s in self.streams.items()}
        self.ring.select(rows)

    def snapshot(self) -> Pinned:
        return Pinned({n: s.clone() for n, s in self.streams.items()}, self.ring.snapshot())

    def restore(self, saved: Pinned) -> None:
        self.streams = {n: s.clone() for n, s in saved.streams.items()}
        self.ring.restore(saved.ring)

    @property
    def nbytes(self) -> int:
        return sum(s.nbytes for s in self.streams.values()) + self.ring.nbytes
