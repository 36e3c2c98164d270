"""Linear attention, as it is defined: a state S (features, dim) instead of a map over pairs (survey Eq 15-16).

    sum      S_t = diag(a_t) S_(t-1) + f(k_t) v_t^T                                  a_t = 1, one number or one per row
    delta    S_t = a_t (I - b_t f(k_t) f(k_t)^T) S_(t-1) + b_t f(k_t) v_t^T          of S: decay and forgetting
    y_t = f(q_t) S_t, divided by f(q_t) u_t where it is normalised, u being S for values of 1

Here are the feature maps' interface and the references: step by step, and as a matrix over all pairs. The forms that
are fast are in `linear_attention_steps` (causal) and `linear_attention_whole` (everything is seen).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jorip.ops.attention import shared_heads


def same(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Features:
    """What queries and keys (..., dim) become, (..., size). Row by row, so that chunks may be made again.

    least: where a denominator is not above it, it counts as this; 0 for maps without negative values, whose
    denominators are 0 only where nothing is seen (and then the answer is 0); above 0 for maps that estimate positive
    numbers with noise, which may come out negative.
    """

    queries: Callable[[Tensor], Tensor] = same
    keys: Callable[[Tensor], Tensor] = same
    least: float = 0.0


def ratio(num: Tensor, den: Tensor, least: float) -> Tensor:
    """num / den (..., 1), see `Features.least`; zero gradient where the denominator is replaced."""
    inverse, _ = inverted(den, least)
    return num * inverse


def inverted(den: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """1 / den where it may be used, else 1 / least (0 where that is 0); and where it may."""
    used = den > max(least, torch.finfo(den.dtype).tiny)
    return torch.where(used, torch.where(used, den, 1.0).reciprocal(), 1 / least if least else 0.0), used


def recurrent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    state: Tensor | None = None,
    normalised: bool = False,
    least: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The definition, one row after the other. q (batch, heads, length, size) and k (batch, key heads, length, size)
    are features; v (batch, key heads, length, dim); decay, logarithms of a (batch, key heads, length, 1 or size); beta
    (..., 1): the delta rule. Returns (batch, heads, length, dim) and the state (batch, key heads, size, dim; one more
    column, u, where it is normalised)."""
    v = torch.cat([v, torch.ones_like(v[..., :1])], -1) if normalised else v
    s = k.new_zeros(*k.shape[:2], k.shape[3], v.shape[3]) if state is None else state
    ys = []
    for t in range(k.shape[2]):
        kt, vt = k[:, :, t, :, None], v[:, :, t, None, :]
        if decay is not None:
            s = s * decay[:, :, t, :, None].exp()
        new = vt if beta is None else beta[:, :, t, :, None] * (vt - kt.transpose(2, 3) @ s)
        s = s + kt * new
        ys.append((q[:, :, t, None] @ shared_heads(q, s))[:, :, 0])
    y = torch.stack(ys, 2) if ys else q.new_zeros(*q.shape[:3], v.shape[3])
    return (ratio(y[..., :-1], y[..., -1:], least) if normalised else y), s


def weights(q: Tensor, k: Tensor, seen: Tensor, decay: Tensor | None = None, least: float = 0.0) -> Tensor:
    """(batch, heads, q, k): the normalised map of the sum rule over all pairs; seen: bool, broadcastable to it; decay
    (batch, key heads, length, 1)."""
    w = q @ shared_heads(q, k).transpose(2, 3)
    if decay is not None:
        total = shared_heads(q, decay).cumsum(2)
        w = w * (total - total.transpose(2, 3)).masked_fill(~seen, float("-inf")).exp()
    w = torch.where(seen, w, 0.0)
    return ratio(w, w.sum(-1, keepdim=True), least)
