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

from jorip.ops.flex import attend_flex, has_flex

BLIND = -1e30  # log-sum-exp of a query that sees nothing: finite, so that no inf - inf can arise
CACHED = 2**19  # scores of one step: 2 MiB in float32, which leaves keys and values room in a core's share of cache


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
    k, v = k.to(q.dtype), v.to(q.dtype)  # states may be wider under autocast
    if has_flex(q, v, tiles.table.shape[1], tiles.block, _by_products):
        y, lse = attend_flex(q, k, v, *tiles, unseen, scale)
        return y, lse.clamp(min=BLIND)
    return _Tiled.apply(q, k, v, tiles, unseen, scale)


def _by_products(q, k, v, table, block, hidden, kind, unseen, scale: float):
    return _Tiled.apply(q, k, v, Tiles(table, block, hidden, kind), unseen, scale)


def merge(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Attention over a union of disjoint key sets from (attention, log-sum-exp) over each."""
    if len(parts) == 1:
        return parts[0][0]
    share = torch.stack([lse for _, lse in parts]).softmax(0)
    return sum((y * w[..., None].to(y.dtype) for (y, _), w in zip(parts, share)), torch.zeros_like(parts[0][0]))


class _Steps:
    """The flat list of all tiles, a few at a time."""

    def __init__(self, q: Tensor, k: Tensor, tiles: Tiles, unseen: Tensor | None, scale: float):
        table, self.block, hidden, kind = tiles
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
        self.hidden = None if hidden is None else hidden.to(q.dtype)
        self.open = [] if hidden is None else (hidden == 0).flatten(1).all(1).tolist()
        self.kind = None if kind is None else kind.repeat(n // kind.shape[0], 1).flatten()
        self.kinds = [] if self.kind is None else self.kind.tolist()
        each = max(1, min(CACHED // max(self.rows * self.width, 1), self.count))
        self.each = each if each < self.tiles else each - each % max(self.tiles, 1)
        self.rooms: dict[str, Tensor] = {}

    def __iter__(self):
        """Tiles of one sequence, or of whole ones."""
        for first in range(0, self.count, max(self.each, self.tiles)):
            last = min(first + max(self.each, self.tiles), self.count)
            for start in range(first, last, self.each):
                yield slice(start, min(start + self.each, last))

    def part(self, x: Tensor, s: slice) -> Tensor:
        """Of (sequences, length, dim), a view: (sequences, tiles, rows, dim)."""
        first, tile = divmod(s.start, self.tiles)
        there = x.unflatten(1, (self.tiles, self.rows))[first : -(-s.stop // self.tiles)]
        return there[:, tile : tile + s.stop - s.start]

    def of(self, x: Tensor, s: slice) -> Tensor:
        """The same as (tiles, rows, dim)."""
        return self.part(x, s).flatten(0, 1)

    def room(self, name: str, s: slice, like: Tensor, *shape: int) -> Tensor:
        """(tiles of this step, *shape): the same memory in every step, which a core then still has in its cache."""
        if name not in self.rooms:
            self.rooms[name] = like.new_empty(self.each, *shape)
        return self.rooms[name][: s.stop - s.start]

    def take(self, name: str, x: Tensor, s: slice) -> Tensor:
        """(sequences * blocks, block * dim) -> (tiles, width, dim): the blocks that these tiles read."""
        room = self.room(name, s, x, self.blocks.shape[1], x.shape[1])
        torch.index_select(x, 0, self.blocks[s].flatten(), out=room.flatten(0, 1))
        return room.view(s.stop - s.start, self.width, -1)

    def scores(self, q: Tensor, k: Tensor, s: slice) -> Tensor:
        """(tiles, rows, width)."""
        y = self.room("scores", s, q, self.rows, self.width)
        torch.baddbmm(y, q, k.transpose(1, 2), beta=int(self.hide(y, s)), alpha=self.scale, out=y)
        return y.to(torch.promote_types(y.dtype, torch.float32))

    def hide(self, y: Tensor, s: slice) -> bool:
        """Fills y (tiles, rows, width) with what hides keys from these tiles; False, and y as it is, where nothing
        does."""
        kinds, some = self.kinds[s] if self.kinds else [0], False
        if self.hidden is not None and not all(self.open[i] for i in kinds):
            some = True
            if self.kind is None or min(kinds) == max(kinds):
                y.copy_(self.hidden[kinds[0]])
            else:
                torch.index_select(self.hidden, 0, self.kind[s], out=y)
        if any(self.partly[s]):
            row = torch.zeros(self.absent[s].shape, dtype=y.dtype, device=y.device)
            row = row.masked_fill_(self.absent[s], float("-inf"))[..., None].expand(-1, -1, self.block)
            row = row if self.unseen is None else row + self.unseen[self.blocks[s]].to(y.dtype)
            row = row.reshape(-1, 1, self.width)
            _ = y.add_(row) if some else y.copy_(row)
            return True
        return some

    def product(self, name: str, s: slice, a: Tensor, b: Tensor) -> Tensor:
        """(tiles, n, m) @ (tiles, m, l)."""
        return torch.bmm(a, b, out=self.room(name, s, a, a.shape[1], b.shape[2]))


def _empty(q: Tensor, dim: int) -> Tensor:
    """(sequences, length, dim), in memory in the order of q: heads within rows, or rows within heads."""
    n, length, _ = q.shape
    within = q.stride(0) < q.stride(1)
    return q.new_empty(length, n, dim).transpose(0, 1) if within else q.new_empty(n, length, dim)


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, tiles: Tiles, unseen, scale: float):
        steps = _Steps(q, k, tiles, unseen, scale)
        block, rows = tiles.block, steps.rows
        ks, vs = k.reshape(-1, block * k.shape[2]), v.reshape(-1, block * v.shape[2])
        y = _empty(q, v.shape[2])
        lse = torch.empty(steps.count, rows, 1, dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)
        for s in steps:
            w = steps.scores(steps.of(q, s), steps.take("keys", ks, s), s)
            top = w.amax(-1, keepdim=True).clamp_(min=BLIND)
            total = w.sub_(top).exp_().sum(-1, keepdim=True)
            total.masked_fill_(total == 0, 1.0)
            own = steps.product("answers", s, w.to(v.dtype), steps.take("values", vs, s)).div_(total.to(v.dtype))
            to = steps.part(y, s)
            to.copy_(own.view(to.shape))
            torch.add(total.log_(), top, out=lse[s])
        ctx.save_for_backward(q, k, v, y, lse, unseen)
        ctx.tiles, ctx.scale = tiles, scale
        return y, lse.view(q.shape[:2])

    @staticmethod
    def backward(ctx, *grads):
        gy, glse = grads
        q, k, v, y, lse, unseen = ctx.saved_tensors
        steps, block = _Steps(q, k, ctx.tiles, unseen, ctx.scale), ctx.tiles.block
        glse = glse.reshape(lse.shape)
        ks, vs = k.reshape(-1, block * k.shape[2]), v.reshape(-1, block * v.shape[2])
        gq, gk, gv = _empty(q, q.shape[2]), torch.zeros_like(ks), torch.zeros_like(vs)
        for s in steps:
            qs, gys = steps.of(q, s), steps.of(gy, s)
            kb, vb, at = steps.take("keys", ks, s), steps.take("values", vs, s), steps.blocks[s].flatten()
            w = steps.scores(qs, kb, s).sub_(lse[s]).exp_()
            gv.index_add_(0, at, steps.product("gv", s, w.to(v.dtype).transpose(1, 2), gys).view(len(at), -1))
            less = (gys * steps.of(y, s)).sum(-1, keepdim=True, dtype=lse.dtype).sub_(glse[s])
            gw = (
                steps.product("gw", s, gys, vb.transpose(1, 2))
                .to(w.dtype)
                .sub_(less)
                .mul_(w)
                .mul_(ctx.scale)
                .to(k.dtype)
            )
            to = steps.part(gq, s)
            to.copy_(steps.product("gq", s, gw, kb).view(to.shape))
            gk.index_add_(0, at, steps.product("gk", s, gw.transpose(1, 2), qs).view(len(at), -1))
        return gq, gk.view(k.shape), gv.view(v.shape), None, None, None
