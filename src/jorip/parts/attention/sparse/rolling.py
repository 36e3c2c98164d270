"""The decoding state of windows: a ring of as many rows as a window sees, O(window) however long the sequence is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jorip.core.layout import Layout
from jorip.core.state import Kept, State


@dataclass(frozen=True)
class Held(Kept):
    """Keys in any order, as one side of a mask. order (batch, longest) int64: the place of each in its sequence, below
    0 where there is none; ring: all of them are within the window of the newest row."""

    order: Tensor | None = None
    ring: bool = False

    real = property(lambda s: s.order >= 0)
    grid_order = property(lambda s: s.order)

    @staticmethod
    def of(order: Tensor, ring: bool = False) -> Held:
        return Held((order >= 0).sum(1), order.shape[1], order=order, ring=ring)


@dataclass
class Rolling(State):
    """streams: each (batch, size, heads, dim), row t of a sequence in slot t mod size; lengths (batch,): rows so far;
    window: the size that it grows to, before which nothing is overwritten."""

    streams: dict[str, Tensor]
    lengths: Tensor
    window: int

    @staticmethod
    def empty(
        batch: int, capacity: int, window: int, shapes: dict[str, tuple[int, int]], dtype, device=None
    ) -> Rolling:
        size = min(capacity, window)
        streams = {n: torch.zeros(batch, size, h, d, dtype=dtype, device=device) for n, (h, d) in shapes.items()}
        return Rolling(streams, torch.zeros(batch, dtype=torch.int64, device=device), window)

    @property
    def size(self) -> int:
        return next(iter(self.streams.values())).shape[1]

    def append(self, rows: dict[str, Tensor], at: Layout) -> tuple[dict[str, Tensor], Layout | Held]:
        """Adds rows (rows, heads, dim) of each stream; returns what the new rows may see, (batch, heads, keys, dim),
        and where it is: the ring itself for one new row a sequence; the new rows where there were none before; else
        the last `window - 1` rows before the new ones and the new ones, in order."""
        longest = int(at.total.max()) if at.batch else 0
        self.grow(longest)
        rows = {n: r.to(self.streams[n].dtype) for n, r in rows.items()}
        if at.longest <= 1:
            self.write(rows, at)
            shown = min(longest, self.size)
            slots = torch.arange(shown, device=at.lengths.device)
            newest = self.lengths[:, None] - 1
            views = {n: self.streams[n][:, :shown].transpose(1, 2) for n in rows}
            return views, Held.of(newest - (newest - slots) % self.size, ring=True)
        new = {n: at.grid(r).transpose(1, 2) for n, r in rows.items()}
        if at.start is None:
            self.write(rows, at)
            return new, at
        before, order = self.before(min(self.window - 1, self.size, int(at.start.max())), at.start)
        order = torch.cat([order, at.grid_order.masked_fill(~at.real, -1)], 1)
        keys = {n: torch.cat([before[n], new[n]], 2) for n in rows}
        self.write(rows, at)
        return keys, Held.of(order)

    def before(self, count: int, start: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The last `count` rows of each sequence, in order, as (batch, heads, count, dim), and their places."""
        order = start[:, None] - count + torch.arange(count, device=start.device)
        batch = torch.arange(len(start), device=start.device)[:, None]
        return {n: s[batch, order % self.size].transpose(1, 2) for n, s in self.streams.items()}, order

    def write(self, rows: dict[str, Tensor], at: Layout) -> None:
        """The newest rows of each sequence, as many as fit, into their slots."""
        kept = (at.order >= (at.total - self.size)[at.sample]).nonzero()[:, 0] if at.longest > self.size else None
        sample, order = (at.sample, at.order) if kept is None else (at.sample[kept], at.order[kept])
        for name, new in rows.items():
            new = new if kept is None else new[kept]
            if torch.is_grad_enabled():
                self.streams[name] = self.streams[name].index_put((sample, order % self.size), new)
            else:
                self.streams[name].index_put_((sample, order % self.size), new)
        self.lengths = at.total

    def grow(self, needed: int) -> None:
        needed = min(needed, self.window)
        for name, old in self.streams.items():
            if needed > old.shape[1]:
                more = min(max(needed, 2 * old.shape[1]), self.window) - old.shape[1]
                self.streams[name] = torch.cat([old, old.new_zeros(old.shape[0], more, *old.shape[2:])], 1)

    def select(self, rows: Tensor) -> None:
        self.streams = {n: s.index_select(0, rows) for n, s in self.streams.items()}
        self.lengths = self.lengths[rows]

    @property
    def nbytes(self) -> int:
        return sum(s.nbytes for s in self.streams.values()) + self.lengths.nbytes
