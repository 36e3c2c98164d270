"""Softmax attention of small dense tiles, O(pairs that are read) time and O(length) memory, also in training.

Queries are cut into tiles of equally many rows, keys into blocks; a table says which blocks a tile reads. A few tiles
at a time, as many as stay in a core's cache, gather their blocks and do two products with a softmax between them. The
backward keeps only the log-sum-exp of every query and makes the weights again (as FlashAttention does, 2205.14135),
so that nothing of the size of the pairs outlives a step.

The log-sum-exp is an output too: attention over a union of disjoint key sets is `merge` of the parts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BLIND = -1e30  # log-sum-exp of a query that sees nothing: finite, so that no inf - inf can arise
_CACHED = (
    2**19
)  # scores of one step: 2 MiB in float32, which leaves room for keys and values in a core's share of cache


class Tiles(NamedTuple):
    """What each tile reads, for `batch * heads` (or fewer, which then repeat) sequences.

    table (sequences, tiles, slots) int64: key blocks, -1 = none; block: rows of a key block;
    hidden (kinds, rows, slots * block) or None: numbers added to the scores, 0 or -inf; kind (sequences, tiles) int64:
    which of them, None = the first for all.
    """

    table: Tensor
    block: int
    hidden: Tensor | None = None
    kind: Tensor | None = None


def attend_tiles(q: Tensor, k: Tensor, v: Tensor, tiles: Tiles, unseen: Tensor | None, scale: float):
    """(sequences, length, dim) queries, keys and values -> their attention, same shape as q (v's dim), and the
    log-sum-exp (sequences, length) of what each query saw. The length of q is a multiple of the number of tiles, that
    of k and v a multiple of the block. unseen (any divisor of sequences, keys): 0, or -inf for keys that do not exist.
    """
    return _Tiled.apply(q, k.to(q.dtype), v.to(q.dtype), tiles, unseen, scale)  # states may be wider under autocast


def merge(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Attention over a union of disjoint key sets from (attention, log-sum-exp) over each."""
    if len(parts) == 1:
        return parts[0][0]
    share = torch.stack([lse for _, lse in parts]).softmax(0)
    return sum((y * w[..., None].to(y.dtype) for (y, _), w in zip(parts, share)), torch.zeros_like(parts[0][0]))


class _Steps:
    """The flat list of all tiles, a few at a time."""

    def __init__(self, q: Tensor, k: Tensor, tiles: Tiles, unseen: Tensor | None, scale: float):
        table, self.block, self.hidden, kind = tiles
        n, (self.tiles, slots) = q.shape[0], table.shape[1:]
        self.rows, self.width, self.count = q.shape[1] // self.tiles, slots * self.block, n * self.tiles
        self.scale = scale
        blocks = k.shape[1] // self.block
        table = table.repeat(n // table.shape[0], 1, 1)
        first = torch.arange(n, device=q.device)[:, None, None] * blocks
        self.blocks = (table.clamp(min=0) + first).view(self.count, slots)
        absent = (table < 0).view(self.count, slots)
        if unseen is not None:
            unseen = unseen.repeat(n // unseen.shape[0], 1).view(n * blocks, self.block)
            partly = ((unseen != 0).any(1)[self.blocks] | absent).any(1)
        else:
            partly = absent.any(1)
        self.unseen, self.absent, self.partly = unseen, absent, partly.tolist()
        self.kind = None if kind is None else kind.repeat(n // kind.shape[0], 1).flatten().tolist()
        self.open = [] if self.hidden is None else (self.hidden == 0).flatten(1).all(1).tolist()
        self.each = max(1, _CACHED // max(self.rows * self.width, 1))

    def __iter__(self):
        for start in range(0, self.count, self.each):
            yield slice(start, min(start + self.each, self.count))

    def take(self, x: Tensor, s: slice) -> Tensor:
        """(sequences * blocks, block * dim) -> (tiles, width, dim): the blocks that these tiles read."""
        return x.index_select(0, self.blocks[s].flatten()).view(s.stop - s.start, self.width, -1)

    def scores(self, q: Tensor, k: Tensor, s: slice) -> Tensor:
        """(tiles, rows, width)."""
        add = self.add(s, q.dtype)
        if add is None:
            y = torch.baddbmm(q.new_empty(1), q, k.transpose(1, 2), beta=0, alpha=self.scale)
        else:
            y = torch.baddbmm(add.expand(-1, self.rows, -1), q, k.transpose(1, 2), alpha=self.scale)
        return y.to(torch.promote_types(y.dtype, torch.float32))

    def add(self, s: slice, dtype: torch.dtype) -> Tensor | None:
        """What hides keys from these tiles, (1 or tiles, 1 or rows, width); None where nothing does."""
        add = None
        if self.hidden is not None:
            kinds = [0] if self.kind is None else self.kind[s]
            if not all(self.open[i] for i in kinds):
                alike = min(kinds) == max(kinds)
                add = self.hidden[kinds[0]][None] if alike else self.hidden[kinds]
                add = add.to(dtype)
        if any(self.partly[s]):
            row = torch.zeros(self.absent[s].shape, dtype=dtype, device=self.blocks.device)
            row = row.masked_fill_(self.absent[s], float("-inf"))[..., None]
            row = row.expand(-1, -1, self.block)
            row = row if self.unseen is None else row + self.unseen[self.blocks[s]].to(dtype)
            row = row.reshape(-1, 1, self.width)
            add = row if add is None else add + row
        return add


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, tiles: Tiles, unseen, scale: float):
        steps = _Steps(q, k, tiles, unseen, scale)
        n, block, rows = q.shape[0], tiles.block, steps.rows
        qs = q.reshape(steps.count, rows, -1)
        ks, vs = k.reshape(-1, block * k.shape[2]), v.reshape(-1, block * v.shape[2])
        y = q.new_empty(steps.count, rows, v.shape[2])
        lse = torch.empty(steps.count, rows, 1, dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)
        for s in steps:
            w = steps.scores(qs[s], steps.take(ks, s), s)
            top = w.amax(-1, keepdim=True).clamp_(min=BLIND)
            total = w.sub_(top).exp_().sum(-1, keepdim=True)
            total.masked_fill_(total == 0, 1.0)
            torch.bmm(w.to(v.dtype), steps.take(vs, s), out=y[s]).div_(total.to(v.dtype))
            torch.add(total.log_(), top, out=lse[s])
        ctx.save_for_backward(q, k, v, y, lse, unseen)
        ctx.tiles, ctx.scale = tiles, scale
        return y.view(n, -1, v.shape[2]), lse.view(n, -1)

    @staticmethod
    def backward(ctx, *grads):
        gy, glse = grads
        q, k, v, y, lse, unseen = ctx.saved_tensors
        steps, block = _Steps(q, k, ctx.tiles, unseen, ctx.scale), ctx.tiles.block
        qs, gy, glse = q.reshape(steps.count, steps.rows, -1), gy.reshape(y.shape), glse.reshape(lse.shape)
        ks, vs = k.reshape(-1, block * k.shape[2]), v.reshape(-1, block * v.shape[2])
        gq, gk, gv = torch.empty_like(qs), torch.zeros_like(ks), torch.zeros_like(vs)
        for s in steps:
            kb, vb, at = steps.take(ks, s), steps.take(vs, s), steps.blocks[s].flatten()
            w = steps.scores(qs[s], kb, s).sub_(lse[s]).exp_()
            gv.index_add_(0, at, torch.bmm(w.to(v.dtype).transpose(1, 2), gy[s]).view(len(at), -1))
            less = (gy[s] * y[s]).sum(-1, keepdim=True, dtype=lse.dtype).sub_(glse[s])
            gw = torch.bmm(gy[s], vb.transpose(1, 2)).to(w.dtype).sub_(less).mul_(w).mul_(ctx.scale).to(k.dtype)
            torch.bmm(gw, kb, out=gq[s])
            gk.index_add_(0, at, torch.bmm(gw.transpose(1, 2), qs[s]).view(len(at), -1))
        return gq.view(q.shape), gk.view(k.shape), gv.view(v.shape), None, None, None
