"""Masked softmax attention, softmax(Q K^T * scale) V (survey Eq 1): the reference and the fast form.

Tensors are (batch, heads, length, dim); grouped queries: q has a multiple of the heads of k and v. A query that may see
nothing gets zeros and zero gradient.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from jorip.core.mask import Causal, Mask


def attention_weights(q: Tensor, k: Tensor, mask: Mask, q_at, k_at, scale: float, bias: Tensor | None = None) -> Tensor:
    """(batch, heads, q, k): the reference's softmax, in float32 or better."""
    group = q.shape[1] // k.shape[1]
    k = k.repeat_interleave(group, 1) if group > 1 else k
    scores = q @ k.transpose(-1, -2) * scale
    if bias is not None:
        scores = scores + bias
    if not scores.numel():
        return scores
    seen = mask.dense(q_at, k_at)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).masked_fill(~seen, float("-inf"))
    # subtracting a finite maximum keeps rows that see nothing at exp(-inf) = 0 instead of nan
    top = scores.detach().amax(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)
    e = (scores - top).exp()
    return (e / e.sum(-1, keepdim=True).clamp(min=torch.finfo(e.dtype).tiny)).to(q.dtype)


def attend_reference(q: Tensor, k: Tensor, v: Tensor, mask: Mask, q_at, k_at, scale: float, drop=None) -> Tensor:
    """The definition; `drop` maps weights to weights."""
    w = attention_weights(q, k, mask, q_at, k_at, scale)
    w = drop(w) if drop is not None else w
    group = q.shape[1] // v.shape[1]
    return w @ (v.repeat_interleave(group, 1) if group > 1 else v)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask, q_at, k_at, scale: float) -> Tensor:
    """The fast form: torch's fused kernel, with a mask tensor only where one is needed.

    Causal over two fresh left-aligned grids needs none: holes come after every real query.
    """
    grouped = q.shape[1] != k.shape[1]
    if isinstance(mask, Causal) and q_at.start is None and q_at.longest == k_at.longest:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
    if (mask.everything or _sees_all(mask, q_at, k_at)) and k_at.full:
        return F.scaled_dot_product_attention(q, k, v, scale=scale, enable_gqa=grouped)
    seen = mask.dense(q_at, k_at)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale, enable_gqa=grouped)


def _sees_all(mask: Mask, q_at, k_at) -> bool:
    """One new row per sequence, all equally long so far: a causal row sees every kept key."""
    return isinstance(mask, Causal) and q_at.longest == 1
