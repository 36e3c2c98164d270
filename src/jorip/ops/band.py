"""Softmax attention over a band of keys, and over the first rows besides: O(length) time and memory, also in training.

Queries are cut into tiles; the keys of neighbouring tiles overlap, so they are views of the same memory and nothing is
gathered. Each tile goes through torch's fused kernel (`ops/fused`), which returns the log-sum-exp of every query:
attention over two disjoint sets of keys is joined by it, and the backward of each set needs only the joint answer and
the joint log-sum-exp. `ops/tiles` is the same for any pattern and any device.

Tensors are (batch, heads, length, dim).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from jorip.ops.attention import hidden
from jorip.ops.fused import fused_backward, fused_forward

ROWS = 64  # of a tile: more compute pairs that are hidden, fewer make small products
TOGETHER = 8  # tiles of one call: what it makes stays in the cache until it is added up


class Band(NamedTuple):
    """Row i sees rows i - before to i + after, and the first `first` besides. Where causal, `after` is 0 and a row sees
    none of the first ones that are behind it."""

    before: int
    after: int
    first: int = 0
    causal: bool = False

    def allow(self, q: Tensor, k: Tensor) -> Tensor:
        """Places -> bool."""
        seen = (k >= q - self.before) & (k <= q + self.after) | (k < self.first)
        return seen & (k <= q) if self.causal else seen

    def parts(self, length: int) -> Iterator[Part]:
        """Of a sequence. First the tiles whose windows are whole and beyond the first rows: they are all alike."""
        start = -(-(self.before + self.first) // ROWS)
        stop = max(start, (length - self.after) // ROWS)
        if start < stop:
            yield Part(start * ROWS, ROWS, start * ROWS - self.before, ROWS + self.before + self.after, stop - start)
            if self.first:
                for tile in range(start, stop, TOGETHER):
                    rows = min(TOGETHER, stop - tile) * ROWS
                    yield Part(tile * ROWS, rows, 0, self.first, joins=True)
        for tile in (*range(min(start, -(-length // ROWS))), *range(stop, -(-length // ROWS))):
            low, high = tile * ROWS, min((tile + 1) * ROWS, length)
            begin, end = max(low - self.before, 0), high + self.after
            if begin <= self.first:  # the first rows are among their keys, those behind the window too
                begin, end = 0, end if self.causal else max(end, self.first)
            yield Part(low, high - low, begin, min(end, length) - begin)
            if begin and self.first:
                yield Part(low, high - low, 0, self.first, joins=True)

    def steps(self, length: int) -> Iterator[Part]:
        """The same, a few at a time."""
        for whole in self.parts(length):
            for start in range(0, whole.tiles, TOGETHER):
                yield whole.some(start, TOGETHER)

    def pairs(self, length: int) -> int:
        """That are computed, the hidden ones included."""
        return sum(p.tiles * p.rows * p.width for p in self.parts(length))


class Part(NamedTuple):
    """Tiles of `rows` queries from `start` on, each with `width` keys, of which the first tile's begin at `begin`; the
    next tiles' are ROWS further. joins: these queries have read other keys before."""

    start: int
    rows: int
    begin: int
    width: int
    tiles: int = 1
    joins: bool = False

    def some(self, start: int, count: int) -> Part:
        """At most `count` of its tiles, from tile `start` on."""
        count, further = min(count, self.tiles - start), start * ROWS
        return self._replace(start=self.start + further, begin=self.begin + further, tiles=count)

    def queries(self, x: Tensor) -> Tensor:
        """(length, heads, ...) -> (tiles, heads, rows, ...)."""
        return _cut(x, self.start, self.rows, self.tiles)

    def keys(self, x: Tensor) -> Tensor:
        """(length, heads, dim) -> (tiles, heads, width, dim), which overlap."""
        return _cut(x, self.begin, self.width, self.tiles)

    def add_keys(self, to: Tensor, x: Tensor) -> None:
        """The reverse: (tiles, heads, width, dim) added to (length, heads, dim), a stretch that does not overlap after
        the other."""
        for low in range(0, self.width, ROWS if self.tiles > 1 else self.width):
            some = x[:, :, low : low + ROWS] if self.tiles > 1 else x
            _cut(to, self.begin + low, some.shape[2], self.tiles).add_(some)

    def mask(self, band: Band, like: Tensor) -> Tensor | None:
        """(rows, width): 0 or -inf."""
        if self.joins:
            return None
        q, k = (torch.arange(n, device=like.device) for n in (self.rows, self.width))
        return hidden(band.allow(self.start + q[:, None], self.begin + k), like.dtype)


def _cut(x: Tensor, start: int, rows: int, tiles: int) -> Tensor:
    """(length, heads, ...) -> (tiles, heads, rows, ...): stretches that begin ROWS after each other."""
    far, *others = x.stride()
    size, stride = (tiles, x.shape[1], rows, *x.shape[2:]), (ROWS * far, others[0], far, *others[1:])
    return x.as_strided(size, stride, x.storage_offset() + start * far)


def attend_band(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], band: Band, scale: float) -> Tensor:
    """(batch, heads, length, dim), all with as many heads -> the same. lengths: of the sequences, which start at row 0;
    rows behind them get zeros."""
    return _Band.apply(*(x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v)), lengths, band, scale)


class _Band(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, lengths: list[int], band: Band, scale: float):
        batch, heads, length, dim = q.shape
        y = q.new_empty(batch, length, heads, dim)
        lse = q.new_empty(batch, length, heads)
        for i, n in enumerate(lengths):
            qi, ki, vi = (x[i].transpose(0, 1) for x in (q, k, v))
            y[i, n:] = 0
            for p in band.steps(n):
                mask, own = p.mask(band, q), (p.queries(y[i]), p.queries(lse[i]))
                found = fused_forward(p.queries(qi), p.keys(ki), p.keys(vi), mask, scale)
                if p.joins:
                    share = (own[1] - found[1]).sigmoid_()[..., None]
                    torch.lerp(found[0], own[0], share, out=own[0])
                    torch.logaddexp(own[1], found[1], out=own[1])
                else:
                    for to, x in zip(own, found):
                        to.copy_(x)
        ctx.save_for_backward(q, k, v, y, lse)
        ctx.args = lengths, band, scale
        return y.transpose(1, 2)

    @staticmethod
    def backward(ctx, *grads):
        q, k, v, y, lse = ctx.saved_tensors
        lengths, band, scale = ctx.args
        gy = grads[0].transpose(1, 2).contiguous()
        gq, gk, gv = (torch.zeros_like(y) for _ in range(3))
        for i, n in enumerate(lengths):
            qi, ki, vi = (x[i].transpose(0, 1) for x in (q, k, v))
            for p in band.steps(n):
                gyi, yi, li = (p.queries(x[i]) for x in (gy, y, lse))
                found = fused_backward(gyi, p.queries(qi), p.keys(ki), p.keys(vi), yi, li, p.mask(band, q), scale)
                p.queries(gq[i]).add_(found[0])
                p.add_keys(gk[i], found[1])
                p.add_keys(gv[i], found[2])
        return gq.transpose(1, 2), gk.transpose(1, 2), gv.transpose(1, 2), None, None, None
