"""Softmax attention of every query to a few keys of its own, anywhere: for graphs that no tile is dense in (random
edges, trees). O(queries x keys of each) time; memory as in `ops/tiles`: the backward gathers the keys again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jorip.ops.tiles import BLIND

GATHERED = 2**20  # elements of keys gathered in one step: 4 MiB in float32


def attend_scattered(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """q (sequences, queries, dim), k and v (sequences, rows, dim); keys (any divisor of sequences, queries, slots)
    int64: rows that a query reads, -1 = none. Returns the attention and its log-sum-exp (sequences, queries)."""
    return _Scattered.apply(q, k, v, keys, scale)


def _steps(q: Tensor, k: Tensor, keys: Tensor):
    """Of the flat list of queries: (slice, rows of k (queries, slots), which slots are empty)."""
    (n, queries), slots = q.shape[:2], keys.shape[2]
    each = max(1, GATHERED // max(slots * q.shape[2], 1))
    flat = keys.reshape(-1, slots)
    for start in range(0, n * queries, each):
        query = torch.arange(start, min(start + each, n * queries), device=q.device)
        own = flat[query % len(flat)]
        yield slice(start, start + each), own.clamp(min=0).add_((query // queries * k.shape[1])[:, None]), own < 0


def _weigh(q: Tensor, k: Tensor, none: Tensor) -> Tensor:
    w = torch.bmm(k, q[..., None])[..., 0]
    return w.to(torch.promote_types(w.dtype, torch.float32)).masked_fill_(none, float("-inf"))


class _Scattered(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, keys, scale: float):
        qs, ks, vs = (q * scale).flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
        y = q.new_empty(qs.shape[0], v.shape[2])
        lse = torch.empty(qs.shape[0], 1, dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)
        for s, at, none in _steps(q, k, keys):
            w = _weigh(qs[s], ks[at], none)
            top = w.amax(-1, keepdim=True).clamp_(min=BLIND)
            total = w.sub_(top).exp_().sum(-1, keepdim=True)
            total.masked_fill_(total == 0, 1.0)
            y[s] = torch.bmm((w / total).to(v.dtype)[:, None], vs[at])[:, 0]
            lse[s] = torch.log(total).add_(top)
        ctx.save_for_backward(q, k, v, keys, y, lse)
        ctx.scale = scale
        return y.view(*q.shape[:2], v.shape[2]), lse.view(q.shape[:2])

    @staticmethod
    def backward(ctx, *grads):
        q, k, v, keys, y, lse = ctx.saved_tensors
        qs, ks, vs = (q * ctx.scale).flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
        gy, glse = grads[0].reshape(y.shape), grads[1].reshape(lse.shape)
        less = (gy * y).sum(-1, keepdim=True, dtype=lse.dtype) - glse
        gq, gk, gv = torch.empty_like(qs), torch.zeros_like(ks), torch.zeros_like(vs)
        for s, at, none in _steps(q, k, keys):
            w = _weigh(qs[s], ks[at], none).sub_(lse[s]).exp_()
            gv.index_add_(0, at.flatten(), (w.to(v.dtype)[..., None] * gy[s, None]).flatten(0, 1))
            gw = torch.bmm(vs[at], gy[s][..., None])[..., 0].to(w.dtype).sub_(less[s]).mul_(w).to(k.dtype)
            gq[s] = torch.bmm(gw[:, None], ks[at])[:, 0]
            gk.index_add_(0, at.flatten(), (gw[..., None] * qs[s, None]).flatten(0, 1))
        return gq.mul_(ctx.scale).view(q.shape), gk.view(k.shape), gv.view(v.shape), None, None
