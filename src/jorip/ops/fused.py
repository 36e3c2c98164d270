"""Softmax attention by torch's fused CPU kernel (FlashAttention-2, Dao 2023, 2307.08691), with what torch's public
function keeps to itself: the log-sum-exp of every query, and the backward from an answer and a log-sum-exp.

They may be those of more keys than are given: then these are the gradients of attention to all of them, through the
ones that are given. Tensors are (batch, heads, length, dim) and may be any views whose last dimension is dense.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_forward: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
_backward: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward", None)


def has_fused(q: Tensor, v: Tensor) -> bool:
    """Whether torch has the kernel for these."""
    fits = q.device.type == "cpu" and q.dtype in (torch.float32, torch.float64) and q.shape[-1] == v.shape[-1]
    return fits and _forward is not None and _backward is not None and not torch.compiler.is_compiling()


def fused_forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """The answers and (batch, heads, queries) log-sum-exps. mask: numbers that are added to the scores, (queries,
    keys); every query must see something."""
    return _forward(q, k, v, attn_mask=mask, scale=scale)


def fused_backward(
    gy: Tensor, q: Tensor, k: Tensor, v: Tensor, y: Tensor, lse: Tensor, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v."""
    return _backward(gy, q, k, v, y, lse, 0.0, False, attn_mask=mask, scale=scale)
