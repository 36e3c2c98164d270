"""Linear attention where everything is seen: S = sum of f(k) v^T once, then y = f(q) S / f(q) u for each query.

Features are made a stretch of rows at a time and made again in the backward, so that no (length, size) array exists.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jorip.ops.linear_attention import Features, inverted
from jorip.ops.linear_attention_scan import like_rows, precise
from jorip.ops.linear_attention_steps import rows

CACHED = 2**19  # features of one stretch: 2 MiB in float32


def fold(k: Tensor, v: Tensor, keep: Tensor | None, features: Features, size: int) -> Tensor:
    """k, v (batch, key heads, length, dim), keep (batch, 1, length, 1): 0 for rows that do not exist, or None ->
    (batch, key heads, size, dim + 1): S, and u as its last column; in float32 or better."""
    with torch.autocast(k.device.type, enabled=False):
        return _Fold.apply(k, v, keep, features, size)


def read(q: Tensor, state: Tensor, features: Features) -> Tensor:
    """q (batch, heads, length, dim), the state of `fold` -> (batch, heads, length, dim) in the dtype of q."""
    with torch.autocast(q.device.type, enabled=False):
        return _Read.apply(q, state, features)


def stretches(x: Tensor, size: int):
    """Slices of the rows of x, as many at a time as keep their features in a core's cache."""
    each = max(64, CACHED // max(x.shape[0] * x.shape[1] * size, 1))
    return [slice(s, s + each) for s in range(0, x.shape[2], each)]


def memory(k: Tensor, v: Tensor, keep: Tensor | None, features: Features) -> tuple[Tensor, Tensor]:
    """One stretch: features of keys (sequences, rows, size), values and a column of ones (sequences, rows, dim + 1)."""
    b, heads = features.keys(k), k.shape[1]
    b = b if keep is None else b * precise(keep)
    return rows(b, heads), F.pad(rows(precise(v), heads), (0, 1), value=1.0)


class _Fold(torch.autograd.Function):
    @staticmethod
    def forward(ctx, k, v, keep, features: Features, size: int):
        state = precise(k).new_zeros(k.shape[0] * k.shape[1], size, v.shape[3] + 1)
        for s in stretches(k, size):
            b, w = memory(precise(k[:, :, s]), v[:, :, s], None if keep is None else keep[:, :, s], features)
            state = torch.baddbmm(state, b.transpose(1, 2), w)
        ctx.save_for_backward(k, v, keep)
        ctx.features, ctx.size = features, size
        return state.view(*k.shape[:2], size, v.shape[3] + 1)

    @staticmethod
    def backward(ctx, *grads):
        k, v, keep = ctx.saved_tensors
        gstate = grads[0].flatten(0, 1)
        gk, gv = like_rows(*k.shape, of=k), like_rows(*v.shape, of=v)
        with torch.autocast(k.device.type, enabled=False):
            for s in stretches(k, ctx.size):
                part, vs = precise(k[:, :, s]).detach().requires_grad_(), v[:, :, s]
                with torch.enable_grad():
                    b, w = memory(part, vs.detach(), None if keep is None else keep[:, :, s], ctx.features)
                gv[:, :, s] = torch.bmm(b.detach(), gstate[..., :-1]).view(vs.shape)
                (gk[:, :, s],) = torch.autograd.grad(b, part, torch.bmm(w, gstate.transpose(1, 2)))
        return gk, gv, None, None, None


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, state, features: Features):
        heads, dim = state.shape[1], state.shape[3] - 1
        y = like_rows(q.shape[0], q.shape[1], q.shape[2], dim, of=q)
        dens = torch.empty(*q.shape[:3], 1, dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)
        for s in stretches(q, state.shape[2]):
            a = features.queries(rows(precise(q[:, :, s]), heads))
            o = torch.bmm(a, state.flatten(0, 1).to(a.dtype))
            den = o[..., -1:]
            y[:, :, s] = (o[..., :-1] * inverted(den, features.least)[0]).view(y[:, :, s].shape)
            dens[:, :, s] = den.view(dens[:, :, s].shape)
        ctx.save_for_backward(q, state, y, dens)
        ctx.features = features
        return y

    @staticmethod
    def backward(ctx, *grads):
        q, state, y, dens = ctx.saved_tensors
        heads, features, gy = state.shape[1], ctx.features, grads[0]
        gq, whole = like_rows(*q.shape, of=q), precise(state).flatten(0, 1)
        gstate = torch.zeros_like(whole)
        with torch.autocast(q.device.type, enabled=False):
            for s in stretches(q, state.shape[2]):
                part = precise(q[:, :, s]).detach().requires_grad_()
                with torch.enable_grad():
                    a = features.queries(rows(part, heads))
                g = rows(precise(gy[:, :, s]), heads)
                inverse, used = inverted(rows(dens[:, :, s], heads), features.least)
                down = (g * rows(precise(y[:, :, s]), heads)).sum(-1, keepdim=True).neg_()
                go = torch.cat([g, torch.where(used, down, 0.0)], -1).mul_(inverse)
                gstate = torch.baddbmm(gstate, a.detach().transpose(1, 2), go)
                (gq[:, :, s],) = torch.autograd.grad(a, part, torch.bmm(go, whole.transpose(1, 2)))
        return gq, gstate.view(state.shape).to(state.dtype), None
