"""Attention over a mask that hides everything later, for a few hundred rows: torch's fused kernel computes all pairs of
what it is given, so queries are taken a stair at a time, each with the keys up to its own end,

    pairs = sum over stairs of ROWS * end = T (T + ROWS) / 2     of T^2

Forward and backward are the kernel's own (`ops/fused`); the backward keeps answers and log-sum-exps. Tensors are
(batch, heads, length, dim).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from jorip.ops.fused import fused_backward, fused_forward

ROWS = 128  # of a stair: with fewer the kernel's products become small


def attend_stairs(q: Tensor, k: Tensor, v: Tensor, add: Tensor, scale: float) -> Tensor:
    """As many heads in q, k and v. add: numbers added to the scores (length, length): -inf for what is hidden,
    everything later among it; every row must see something."""
    return _Stairs.apply(*(x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v)), add, scale)


def pairs(length: int) -> int:
    return sum((stair.stop - stair.start) * stair.stop for stair in _stairs(length))


def _stairs(length: int) -> Iterator[slice]:
    yield from (slice(start, min(start + ROWS, length)) for start in range(0, length, ROWS))


class _Stairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, add, scale: float):
        batch, heads, length, dim = q.shape
        y = q.new_empty(batch, length, heads, dim).transpose(1, 2)
        lse = q.new_empty(batch, length, heads).transpose(1, 2)
        for at in _stairs(length):
            to = slice(0, at.stop)
            y[:, :, at], lse[:, :, at] = fused_forward(q[:, :, at], k[:, :, to], v[:, :, to], add[at, to], scale)
        ctx.save_for_backward(q, k, v, add, y, lse)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx, *grads):
        q, k, v, add, y, lse = ctx.saved_tensors
        gq, gk, gv = (torch.zeros_like(y) for _ in range(3))
        for at in _stairs(q.shape[2]):
            to = slice(0, at.stop)
            gy, some = grads[0][:, :, at], (q[:, :, at], k[:, :, to], v[:, :, to], y[:, :, at], lse[:, :, at])
            found = fused_backward(gy, *some, add[at, to], ctx.scale)
            gq[:, :, at] = found[0]
            gk[:, :, to] += found[1]
            gv[:, :, to] += found[2]
        return gq, gk, gv, None, None
