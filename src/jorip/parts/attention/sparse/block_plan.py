"""Which blocks of keys each block of queries reads: global blocks, a window and random blocks (A1.9; Zaheer et al.
2020, 2007.14062, section 2 and appendix D)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from jorip.core.kept import kept
from jorip.core.random import mix, mix_ints

_NONE = 2**40  # beyond every block


class Plan(NamedTuple):
    """keys (batch, heads, blocks, slots) int64: the key blocks of a query block, each as often as it counts, -1 = none;
    whole (batch, blocks) bool: query blocks that read every key (their slots are -1)."""

    keys: Tensor
    whole: Tensor

    def of(self, index: Tensor) -> Plan:
        return Plan(self.keys[index], self.whole[index])

    def counts(self) -> Tensor:
        """(batch, heads, blocks, blocks): how often each query block reads each key block; query blocks that read
        nothing (they are beyond the end) get 1 everywhere, which keeps the softmax of their rows finite."""
        n = self.keys.shape[2]
        ones = (self.keys >= 0).to(torch.float32)
        counts = ones.new_zeros(*self.keys.shape[:3], n + 1).scatter_add(3, self.keys.clamp(min=-1) % (n + 1), ones)
        counts = counts[..., :n]
        return counts.masked_fill((counts == 0).all(-1, keepdim=True), 1)


class Pattern(NamedTuple):
    """first, last: global blocks at either end, which read and are read by all; window: blocks, the query's own in the
    middle."""

    first: int
    last: int
    window: int

    @property
    def slots(self) -> int:
        return self.first + self.window + self.last

    def base(self, n: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
        """n (batch,): blocks of each sequence -> what is not random: the distinct key blocks (batch, blocks, slots) in
        order, -1 = none, last; and which query blocks are global or do not exist (batch, blocks)."""
        i = torch.arange(blocks, device=n.device)
        ends = n[:, None, None]
        first = torch.arange(self.first, device=n.device).expand(len(n), blocks, -1)
        near = (i[:, None] + torch.arange(self.window, device=n.device) - self.window // 2).expand(len(n), -1, -1)
        last = (ends - self.last + torch.arange(self.last, device=n.device)).expand(-1, blocks, -1)
        seen = torch.cat([first, near, last], 2)
        seen = seen.masked_fill((seen < 0) | (seen >= ends), _NONE).sort(-1).values
        again = torch.cat([torch.zeros_like(seen[..., :1], dtype=torch.bool), seen[..., 1:] == seen[..., :-1]], -1)
        seen = seen.masked_fill(again, _NONE).sort(-1).values
        ending = (i < self.first) | (i >= n[:, None] - self.last)
        return seen.masked_fill(seen == _NONE, -1), ending


def plan(n: Tensor, blocks: int, heads: int, pattern: Pattern, random: int, seed: int) -> Plan:
    """The paper's: besides window and global blocks, `random` further blocks for each query block and head, without
    repetition, fewer where no more are left; a function of the seed and of the sequence's own number of blocks, so
    that padding changes nothing. n (batch,) int64: blocks of each sequence; blocks: of the longest."""
    return _plan(tuple(n.tolist()), blocks, heads, pattern, random, seed, n.device)


@kept(64)
def _plan(sizes: tuple[int, ...], blocks: int, heads: int, pattern: Pattern, random: int, seed: int, device) -> Plan:
    n = torch.tensor(sizes, dtype=torch.int64, device=device)
    base, ending = pattern.base(n, blocks)
    taken = base.masked_fill(base < 0, _NONE)[:, None].expand(-1, heads, -1, -1)
    left = (n[:, None] - (base >= 0).sum(-1))[:, None].expand(-1, heads, -1).clamp(min=0)
    row = torch.arange(blocks, dtype=torch.int32, device=n.device)
    for draw in range(random):
        numbers = torch.stack([mix(row, mix_ints(seed, head, draw)) for head in range(heads)])  # the same for every n
        # the x-th of the blocks that are left: every taken one before it moves it on by one
        x = (numbers.to(torch.int64) & 0x7FFFFFFF) % (left - draw).clamp(min=1)
        for t in taken.unbind(-1):
            x = x + (x >= t)
        x = x.masked_fill(left <= draw, _NONE)
        taken = torch.cat([taken, x[..., None]], -1).sort(-1).values
    gone = (taken == _NONE) | ending[:, None, :, None]
    return Plan(taken.masked_fill(gone, -1), ending & (torch.arange(blocks, device=n.device) < n[:, None]))
