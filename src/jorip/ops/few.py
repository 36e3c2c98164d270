"""Softmax attention of a few queries that read everything, a stretch of keys after the other: the largest score so far
and the sums under it go along (Milakov & Gimelshein 2018, 1805.02867), so that scores of all keys never exist. The
backward keeps only the log-sum-exp of every query and makes the weights again.

For few queries this is faster than torch's fused kernel, backwards above all; keys and values may be any views, which
are not copied. Tensors are (batch, heads, length, dim).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from jorip.ops.tiles import BLIND

_FEW = 512  # queries at most that are taken together
STRETCH = 2**20  # of one stretch: 4 MiB in float32; shorter stretches make small products


def attend_few(q: Tensor, k: Tensor, v: Tensor, unseen: Tensor | None, scale: float) -> Tensor:
    """(batch, heads, few, dim) -> the same, of v's dim; q, k and v have as many heads. unseen (batch or 1, keys): 0, or
    -inf for keys that do not exist; what sees nothing gets zeros."""
    return _Few.apply(q, k.to(q.dtype), v.to(q.dtype), unseen, scale)  # states may be wider under autocast


def attend_inputs(
    q: Tensor, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, unseen: Tensor | None, scale: float
) -> Tensor:
    """The same where keys and values are `keys` (key heads * dim, width) and `values`, `bias` of x (batch, length,
    width): the maps are folded into queries and answers, q (W_k x)^T = (q W_k) x^T, so that neither is made for all of
    x. Adding a bias to all keys adds the same number to all of a query's scores, which changes nothing."""
    dim, few = q.shape[3], q.shape[2]
    grouped = q.unflatten(1, (keys.shape[0] // dim, -1)).flatten(2, 3)  # queries by key head
    inner = grouped @ keys.unflatten(0, (-1, dim))
    z = attend_few(inner.flatten(1, 2)[:, None], x[:, None], x[:, None], unseen, scale)[:, 0]
    y = z.unflatten(1, inner.shape[1:3]) @ values.unflatten(0, (inner.shape[1], -1)).transpose(1, 2)
    y = y if bias is None else y + bias.unflatten(0, (inner.shape[1], 1, -1))
    return y.unflatten(2, (-1, few)).flatten(1, 2)


def put_rows(y: Tensor, at: Tensor, z: Tensor) -> Tensor:
    """y with the rows `at` (batch, count) int64, -1 = none, replaced by z (batch, heads, count, dim). Where nothing is
    kept for a backward this is done in place."""
    rows = y.transpose(1, 2)  # as the rest of a layer reads them
    rows = rows.clone(memory_format=torch.contiguous_format) if y.requires_grad else rows.contiguous()
    there = at >= 0
    sample = torch.arange(len(at), device=at.device)[:, None].expand_as(at)
    return rows.index_put_((sample[there], at[there]), z.transpose(1, 2)[there].to(y.dtype)).transpose(1, 2)


def _queries(q: Tensor, k: Tensor) -> Iterator[tuple[int, slice, slice]]:
    """(sequence, heads, queries): several heads where a stretch has room for them."""
    batch, heads, few, _ = q.shape
    each = max(1, STRETCH // max(min(few, _FEW) * k.shape[2], 1))
    for i in range(batch):
        for h in range(0, heads, each):
            for r in range(0, few, _FEW):
                yield i, slice(h, h + each), slice(r, r + _FEW)


def _stretches(q: Tensor, k: Tensor) -> list[slice]:
    """Of the keys of these (heads, queries, dim)."""
    each = max(1, STRETCH // max(q.shape[0] * q.shape[1], 1))
    return [slice(c, c + each) for c in range(0, k.shape[1], each)]


def _scores(q: Tensor, k: Tensor, unseen: Tensor | None, i: int, c: slice, scale: float) -> Tensor:
    """(heads, queries, keys), at least in float32."""
    w = torch.bmm(q, k.transpose(1, 2)).mul_(scale)
    w = w if unseen is None else w.add_(unseen[i % len(unseen), c].to(w.dtype))
    return w.to(torch.promote_types(w.dtype, torch.float32))


class _Few(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, unseen, scale: float):
        y = q.new_empty(*q.shape[:3], v.shape[3])
        lse = torch.empty(*q.shape[:3], 1, dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)
        for i, h, r in _queries(q, k):
            qs, ks, vs = q[i, h, r], k[i, h], v[i, h]
            top = lse.new_full((*qs.shape[:2], 1), BLIND)
            total, sums = torch.zeros_like(top), lse.new_zeros(*qs.shape[:2], v.shape[3])
            for c in _stretches(qs, ks):
                w = _scores(qs, ks[:, c], unseen, i, c, scale)
                before, top = top, torch.maximum(top, w.amax(-1, keepdim=True))
                less = before.sub_(top).exp_()
                total = total.mul_(less).add_(w.sub_(top).exp_().sum(-1, keepdim=True))
                sums = sums.mul_(less).add_(torch.bmm(w.to(v.dtype), vs[:, c]))
            total.masked_fill_(total == 0, 1.0)
            y[i, h, r] = sums.div_(total).to(y.dtype)
            lse[i, h, r] = total.log_().add_(top)
        ctx.save_for_backward(q, k, v, y, lse, unseen)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx, *grads):
        q, k, v, y, lse, unseen = ctx.saved_tensors
        gq, gk, gv = torch.zeros_like(q), torch.empty_like(k), torch.empty_like(v)
        less = (grads[0] * y).sum(-1, keepdim=True, dtype=lse.dtype)
        for i, h, r in _queries(q, k):
            qs, gy = q[i, h, r], grads[0][i, h, r]
            for c in _stretches(qs, k[i, h]):
                ks = k[i, h, c]
                w = _scores(qs, ks, unseen, i, c, ctx.scale).sub_(lse[i, h, r]).exp_()
                own_v = torch.bmm(w.to(v.dtype).transpose(1, 2), gy)
                gw = torch.bmm(gy, v[i, h, c].transpose(1, 2)).to(w.dtype).sub_(less[i, h, r]).mul_(w)
                gw = gw.mul_(ctx.scale).to(k.dtype)
                gq[i, h, r].baddbmm_(gw, ks)
                own_k = torch.bmm(gw.transpose(1, 2), qs)
                for all_, own in ((gk, own_k), (gv, own_v)):
                    _ = all_[i, h, c].add_(own) if r.start else all_[i, h, c].copy_(own)
        return gq, gk, gv, None, None
