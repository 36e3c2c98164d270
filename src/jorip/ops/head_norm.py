"""Outputs normalised head by head and gated (RetNet's and the gated delta rule's last step):

    n = (y - mean(y)) / sqrt(var(y) + eps)   or   y / sqrt(mean(y^2) + eps),      z = n * g sigmoid(g)

Reference and fast form: a few rows at a time, which stay in a core's cache, instead of five passes over all of them;
the backward makes n and swish again, so that nothing but y and g is kept. Tensors are (batch, heads, length, dim).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

CACHED = 2**16  # elements of a few rows: torch shares out no fewer between threads


def head_norm_reference(y: Tensor, g: Tensor | None, centred: bool, eps: float) -> Tensor:
    norm = F.layer_norm if centred else F.rms_norm
    y = norm(y, y.shape[-1:], eps=eps)
    return y if g is None else y * F.silu(g)


def head_norm(y: Tensor, g: Tensor | None, centred: bool, eps: float) -> Tensor:
    """g: gates like y, or None. The answer has the rows apart in memory, as projections want them; statistics are in
    float32 or better."""
    return _HeadNorm.apply(y, g, centred, eps)


def _few(y: Tensor) -> Iterator[slice]:
    length = y.shape[2]
    each = max(1, CACHED // max(y.shape[0] * y.shape[1] * y.shape[3], 1)) if y.device.type == "cpu" else max(length, 1)
    yield from (slice(start, start + each) for start in range(0, length, each))


def _normal(y: Tensor, centred: bool, eps: float) -> tuple[Tensor, Tensor]:
    """n, and what the centred y was divided by, inverted (..., 1)."""
    y = y.to(torch.promote_types(y.dtype, torch.float32))
    y = y - y.mean(-1, keepdim=True) if centred else y
    size = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
    inverse = size.square_().div_(y.shape[-1]).add_(eps).rsqrt_()
    return y * inverse, inverse


def _like(y: Tensor) -> Tensor:
    batch, heads, length, dim = y.shape
    return y.new_empty(batch, length, heads, dim).transpose(1, 2)


class _HeadNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y: Tensor, g: Tensor | None, centred: bool, eps: float):
        ctx.save_for_backward(y, g)
        ctx.centred, ctx.eps = centred, eps
        z = _like(y)
        for at in _few(y):
            n, _ = _normal(y[:, :, at], centred, eps)
            z[:, :, at] = n if g is None else n.mul_(F.silu(g[:, :, at]))
        return z

    @staticmethod
    def backward(ctx, *grads):
        (gz,), (y, g) = grads, ctx.saved_tensors
        gy, gg = _like(y), None if g is None else _like(g)
        for at in _few(y):
            n, inverse = _normal(y[:, :, at], ctx.centred, ctx.eps)
            gn = gz[:, :, at].to(n.dtype)
            if g is not None and gg is not None:
                x = g[:, :, at].to(n.dtype)
                share = x.sigmoid()
                swish = x * share
                gg[:, :, at] = (gn * n).mul_(torch.addcmul(share, swish, 1 - share))  # of swish: s + g s (1 - s)
                gn = gn * swish
            own = torch.linalg.vecdot(gn, n).div_(n.shape[-1])[..., None]
            if ctx.centred:
                gn = gn - gn.mean(-1, keepdim=True)
            gy[:, :, at] = torch.addcmul(gn, n, own, value=-1).mul_(inverse)
        return gy, gg, None, None
