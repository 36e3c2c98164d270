"""Masked softmax attention, softmax(Q K^T * scale) V (survey Eq 1): the reference and the fast form.

Tensors are (batch, heads, length, dim); grouped queries: q has a multiple of the heads of k and v. A query that may see
nothing gets zeros and zero gradient.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from jorip.core.mask import Causal, Mask

SHORT = 128  # rows up to which a CPU computes short attention by plain products


def shared_heads(q: Tensor, x: Tensor) -> Tensor:
    """(batch, key heads, ...) -> as many heads as q has, each key head read by equally many neighbours."""
    return x if x.shape[1] == q.shape[1] else x.repeat_interleave(q.shape[1] // x.shape[1], 1)


def hidden(seen: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers to add to scores: 0 where something is seen, -inf elsewhere."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))


def attention_weights(q: Tensor, k: Tensor, mask: Mask, q_at, k_at, scale: float, bias: Tensor | None = None) -> Tensor:
    """(batch, heads, q, k): the reference's softmax, in float32 or better."""
    scores = q @ shared_heads(q, k).transpose(-1, -2) * scale
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


def attend_reference(
    q: Tensor, k: Tensor, v: Tensor, mask: Mask, q_at, k_at, scale: float, bias: Tensor | None = None, drop=None
) -> Tensor:
    """The definition; `drop` maps weights to weights."""
    w = attention_weights(q, k, mask, q_at, k_at, scale, bias)
    w = drop(w) if drop is not None else w
    return w @ shared_heads(q, v)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask, q_at, k_at, scale: float, bias: Tensor | None = None) -> Tensor:
    """The fast form: torch's fused kernel, with a mask tensor only where one is needed; short rows by products.

    Causal over two fresh left-aligned grids needs none: holes come after every real query. `bias`: numbers added to
    the scores, broadcastable to (batch, heads, q, k).
    """
    grouped = q.shape[1] != k.shape[1]
    fresh = q_at.start is None and q_at.longest == k_at.longest
    if _short(q, k):
        if isinstance(mask, Causal) and fresh:
            seen = torch.ones(1, 1, q.shape[2], k.shape[2], dtype=torch.bool).tril()
            return _attend_short(q, k, v, hidden(seen, q.dtype), scale, bias)
        add = mask.added(q.dtype)
        if add is None:
            add = hidden(k_at.real[:, None, None, :] if mask.everything else mask.dense(q_at, k_at), q.dtype)
        if (add.amax(-1) == 0).all():
            return _attend_short(q, k, v, add, scale, bias)
    if bias is not None and mask.everything and k_at.full:  # nothing to hide
        add = bias.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=add, scale=scale, enable_gqa=grouped)
    if bias is not None:
        seen = mask.dense(q_at, k_at)
        blind = ~seen.any(-1, keepdim=True)  # sees nothing: gives zeros, and must not make nan on the way
        add = bias.to(q.dtype).masked_fill(~seen & ~blind, float("-inf"))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=add, scale=scale, enable_gqa=grouped)
        return y.masked_fill(blind, 0)
    if isinstance(mask, Causal) and fresh:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
    if (mask.everything or _sees_all(mask, q_at, k_at)) and k_at.full:
        return F.scaled_dot_product_attention(q, k, v, scale=scale, enable_gqa=grouped)
    add = mask.added(q.dtype)
    seen = mask.dense(q_at, k_at) if add is None else add
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale, enable_gqa=grouped)


def _short(q: Tensor, k: Tensor) -> bool:
    """Where plain products beat torch's fused kernel on a CPU: 1.3 to 3 times up to 64 keys (benchmarks/NOTES.md)."""
    return (
        q.device.type == "cpu"
        and 1 < q.shape[2] <= SHORT
        and 1 < k.shape[2] <= SHORT
        and q.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _attend_short(q, k, v, add: Tensor, scale: float, bias: Tensor | None) -> Tensor:
    """Mask, bias and scale go into the first product; add: 0 or -inf, every row has something to see."""
    batch, heads, length, _ = q.shape
    k, v = shared_heads(q, k), shared_heads(q, v)
    add = add if bias is None else add + bias
    add = add[0, 0] if add.shape[:2] == (1, 1) else add.expand(batch, heads, -1, -1).flatten(0, 1)
    scores = torch.baddbmm(add, q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), v.flatten(0, 1)).view(batch, heads, length, v.shape[-1])


def _sees_all(mask: Mask, q_at, k_at) -> bool:
    """One new row per sequence, all equally long so far: a causal row sees every kept key."""
    return isinstance(mask, Causal) and q_at.longest == 1
