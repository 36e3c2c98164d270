"""How rows lie in sequences.

Every module of jorip works on *rows*: the real tokens of all sequences, one after the other, (rows, width), no padding.
Linear maps, norms and feed-forwards do not care where a sequence ends; what mixes along the sequence asks the layout
for a `grid` (batch, longest, ...), always left-aligned, and goes back with `rows`. Packed, padded on any side, full and
one-decoding-step batches thus run the same code and give the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from jorip.core.errors import DataError


class Packed(NamedTuple):
    """Sequences one after the other: values (rows, *), lengths (batch,) int64, uid (batch,) int64 (names samples)."""

    values: Tensor
    lengths: Tensor
    uid: Tensor

    @staticmethod
    def cat(sequences: list[Tensor], uid: Tensor | None = None) -> Packed:
        """From a list of (length, *) tensors."""
        lengths = torch.tensor([len(s) for s in sequences], dtype=torch.int64)
        values = torch.cat(sequences) if sequences else torch.zeros(0, dtype=torch.int64)
        return Packed(values, lengths, torch.arange(len(sequences)) if uid is None else uid)

    def split(self) -> list[Tensor]:
        """The sequences again."""
        return list(self.values.split(self.lengths.tolist()))


class _Spread(torch.autograd.Function):
    """rows -> grid slots. Slots are distinct, so the backward is a plain gather (torch's own would be an index_add)."""

    @staticmethod
    def forward(ctx, x: Tensor, slots: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(slots)
        return x.new_zeros(size, *x.shape[1:]).index_copy_(0, slots, x)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        (slots,) = ctx.saved_tensors
        return _Gather.apply(grads[0].contiguous(), slots), None, None


class _Gather(torch.autograd.Function):
    """grid slots -> rows; the backward writes each row to its own slot."""

    @staticmethod
    def forward(ctx, g: Tensor, slots: Tensor) -> Tensor:
        ctx.save_for_backward(slots)
        ctx.size = g.shape[0]
        return g.index_select(0, slots)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        (slots,) = ctx.saved_tensors
        return _Spread.apply(grads[0].contiguous(), slots, ctx.size), None


@dataclass(frozen=True)
class Layout:
    """Where each row is. Made by `pack`, `of` or `step`; modules only read it.

    lengths    (batch,) rows of each sequence in this call
    start      (batch,) rows of each sequence seen in earlier calls, None when there were none
    order      (rows,)  place of each row in its sequence, earlier calls included: what masks compare
    positions  (rows,)  what position encodings read: `order`, unless the caller gave positions
    sample     (rows,)  which sequence
    uid        (batch,) names the samples, for hash dropout
    slots      (rows,)  row -> slot in the flattened grid, None when the grid has no holes
    edge_shape, edge_index: the caller's form, and row -> slot in it (None when they are the same)
    """

    lengths: Tensor
    start: Tensor | None
    order: Tensor
    positions: Tensor
    sample: Tensor
    uid: Tensor
    longest: int
    slots: Tensor | None
    edge_shape: tuple[int, ...]
    edge_index: Tensor | None
    tags: dict[str, Tensor] = field(default_factory=dict)

    def joined(self, groups: Tensor) -> Layout:
        """Neighbouring sequences as one: groups (new batch,) says how many each. Raises DataError when they do not
        add up."""
        if int(groups.sum()) != self.batch or bool((groups < 1).any()):
            raise DataError(
                f"groups of {groups.tolist()[:8]} sequences are not {self.batch}: each has at least one, together all"
            )
        first = groups.cumsum(0) - groups
        lengths = torch.zeros_like(groups).index_add_(
            0, torch.arange(len(groups), device=groups.device).repeat_interleave(groups), self.lengths
        )
        return Layout.of(lengths, self.uid[first])

    @property
    def batch(self) -> int:
        return self.lengths.shape[0]

    @property
    def full(self) -> bool:
        """All sequences equally long: the grid is a view of the rows."""
        return self.slots is None

    @staticmethod
    def of(
        lengths: Tensor, uid: Tensor | None = None, start: Tensor | None = None, positions: Tensor | None = None
    ) -> Layout:
        """Packed rows of these `lengths`; `start` continues sequences of which so many rows were seen before."""
        batch = lengths.shape[0]
        low, longest = (int(lengths.min()), int(lengths.max())) if batch else (0, 0)
        full = low == longest
        if full:
            index = torch.arange(longest, device=lengths.device).expand(batch, longest).reshape(-1)
            sample = torch.arange(batch, device=lengths.device).repeat_interleave(longest)
        else:
            sample = torch.repeat_interleave(torch.arange(batch, device=lengths.device), lengths)
            first = lengths.cumsum(0) - lengths
            index = torch.arange(sample.shape[0], device=lengths.device) - first[sample]
        order = index if start is None else index + start[sample]
        return Layout(
            lengths=lengths,
            start=start,
            order=order,
            positions=order if positions is None else positions,
            sample=sample,
            uid=torch.arange(batch, device=lengths.device) if uid is None else uid,
            longest=longest,
            slots=None if full else sample * longest + index,
            edge_shape=(sample.shape[0],),
            edge_index=None,
        )

    @staticmethod
    def pack(
        mask: Tensor, uid: Tensor | None = None, start: Tensor | None = None, positions: Tensor | None = None
    ) -> Layout:
        """From the caller's padded form: mask (batch, length) bool, True = a real token, padding on any side or inside.

        positions: (batch, length) int64, or None for 0, 1, 2 ... over the real tokens (plus `start`).
        """
        if mask.dtype != torch.bool or mask.dim() != 2:
            raise DataError(
                f"mask must be bool (batch, length), True = a real token; found {mask.dtype} {tuple(mask.shape)}: "
                "use mask.bool()"
            )
        full = bool(mask.all())
        index = None if full else mask.reshape(-1).nonzero()[:, 0]
        if positions is not None:
            positions = positions.expand(mask.shape).reshape(-1)
            positions = positions if index is None else positions[index]
        at = Layout.of(mask.sum(1), uid, start, positions)
        object.__setattr__(at, "edge_shape", tuple(mask.shape))
        object.__setattr__(at, "edge_index", index)
        return at

    def take(self, edge: Tensor) -> Tensor:
        """The caller's form (batch, length, *) -> rows (rows, *)."""
        flat = edge.reshape(-1, *edge.shape[len(self.edge_shape) :])
        return flat if self.edge_index is None else flat[self.edge_index]

    def edge(self, x: Tensor) -> Tensor:
        """Rows -> the caller's form, padding side kept, padding zero."""
        if self.edge_index is not None:
            x = _Spread.apply(x, self.edge_index, self.edge_shape[0] * self.edge_shape[1])
        return x.reshape(*self.edge_shape, *x.shape[1:])

    def grid(self, x: Tensor) -> Tensor:
        """(rows, *) -> (batch, longest, *), left-aligned, holes zero."""
        if self.slots is not None:
            x = _Spread.apply(x, self.slots, self.batch * self.longest)
        return x.reshape(self.batch, self.longest, *x.shape[1:])

    def rows(self, g: Tensor) -> Tensor:
        """(batch, longest, *) -> (rows, *)."""
        g = g.reshape(self.batch * self.longest, *g.shape[2:])
        return g if self.slots is None else _Gather.apply(g, self.slots)

    @property
    def real(self) -> Tensor:
        """(batch, longest) bool: which grid slots hold a row."""
        return torch.arange(self.longest, device=self.lengths.device) < self.lengths[:, None]

    @property
    def grid_order(self) -> Tensor:
        """(batch or 1, longest) int64: `order` of each grid slot, holes included."""
        order = torch.arange(self.longest, device=self.lengths.device)[None]
        return order if self.start is None else order + self.start[:, None]

    @property
    def total(self) -> Tensor:
        """(batch,) rows of each sequence, earlier calls included."""
        return self.lengths if self.start is None else self.lengths + self.start

    def backwards(self) -> Layout:
        """The same rows, each sequence's last one first in the grid, which stays left-aligned."""
        end = (torch.arange(self.batch, device=self.lengths.device) * self.longest + self.total - 1)[self.sample]
        return replace(self, slots=end - self.order)

    def last(self) -> Tensor:
        """(batch,) row index of each sequence's last row."""
        return self.lengths.cumsum(0) - 1


class Rows(NamedTuple):
    """Rows and where they are: what blocks hand to each other."""

    x: Tensor
    at: Layout
