"""Softmax attention of a few queries that read everything: two products with a softmax between them, for as many heads
at a time as stay in a core's cache. The backward keeps only the log-sum-exp of every query and makes the weights again.

For few queries this is faster than torch's fused kernel, backwards above all; keys and values may be any views, which
are not copied. Tensors are (batch, heads, length, dim).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from jorip.ops.tiles import BLIND, CACHED

_FEW = 128  # queries at most that are taken together


def attend_few(q: Tensor, k: Tensor, v: Tensor, unseen: Tensor | None, scale: float) -> Tensor:
    """(batch, heads, few, dim) -> the same, of v's dim; q, k and v have as many heads. unseen (batch or 1, keys): 0, or
    -inf for keys that do not exist; what sees nothing gets zeros."""
    return _Few.apply(q, k.to(q.dtype), v.to(q.dtype), unseen, scale)  # states may be wider under autocast


def put_rows(y: Tensor, at: Tensor, z: Tensor) -> Tensor:
    """y with the rows `at` (batch, count) int64, -1 = none, replaced by z (batch, heads, count, dim). Where nothing is
    kept for a backward this is done in place."""
    rows = y.transpose(1, 2)  # as the rest of a layer reads them
    rows = rows.clone(memory_format=torch.contiguous_format) if y.requires_grad else rows.contiguous()
    there = at >= 0
    sample = torch.arange(len(at), device=at.device)[:, None].expand_as(at)
    return rows.index_put_((sample[there], at[there]), z.transpose(1, 2)[there].to(y.dtype)).transpose(1, 2)


def _steps(q: Tensor, k: Tensor) -> Iterator[tuple[int, slice, slice]]:
    """(sequence, heads, queries)."""
    batch, heads, few, _ = q.shape
    each = max(1, CACHED // max(min(few, _FEW) * k.shape[2], 1))
    for i in range(batch):
        for h in range(0, heads, each):
            for r in range(0, few, _FEW):
                yield i, slice(h, h + each), slice(r, r + _FEW)


def _scores(q: Tensor, k: Tensor, unseen: Tensor | None, i: int, scale: float) -> Tensor:
    """(heads, queries, keys), at least in float32."""
    w = torch.bmm(q, k.transpose(1, 2)).mul_(scale)
    w = w if unseen is None else w.add_(unseen[i % len(unseen)].to(w.dtype))
    return w.to(torch.promote_types(w.dtype, torch.float32))


class _Few(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, unseen, scale: float):
        y = q.new_empty(*q.shape[:3], v.shape[3])
        lse = torch.empty(*q.shape[:3], 1, dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)
        for i, h, r in _steps(q, k):
            w = _scores(q[i, h, r], k[i, h], unseen, i, scale)
            top = w.amax(-1, keepdim=True).clamp_(min=BLIND)
            total = w.sub_(top).exp_().sum(-1, keepdim=True)
            total.masked_fill_(total == 0, 1.0)
            y[i, h, r] = torch.bmm(w.to(v.dtype), v[i, h]).div_(total.to(v.dtype))
            lse[i, h, r] = total.log_().add_(top)
        ctx.save_for_backward(q, k, v, y, lse, unseen)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx, *grads):
        q, k, v, y, lse, unseen = ctx.saved_tensors
        gq, gk, gv = (torch.empty_like(x) for x in (q, k, v))
        less = (grads[0] * y).sum(-1, keepdim=True, dtype=lse.dtype)
        for i, h, r in _steps(q, k):
            gy = grads[0][i, h, r]
            w = _scores(q[i, h, r], k[i, h], unseen, i, ctx.scale).sub_(lse[i, h, r]).exp_()
            own_v = torch.bmm(w.to(v.dtype).transpose(1, 2), gy)
            gw = torch.bmm(gy, v[i, h].transpose(1, 2)).to(w.dtype).sub_(less[i, h, r]).mul_(w).mul_(ctx.scale)
            gw = gw.to(k.dtype)
            gq[i, h, r] = torch.bmm(gw, k[i, h])
            own_k = torch.bmm(gw.transpose(1, 2), q[i, h, r])
            for all_, own in ((gk, own_k), (gv, own_v)):
                _ = all_[i, h].add_(own) if r.start else all_[i, h].copy_(own)
        return gq, gk, gv, None, None
