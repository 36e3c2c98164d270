"""Attention from blocks of queries to chosen blocks of keys, O(length) time and memory (Zaheer et al. 2020, 2007.14062,
appendix D): tiles of one block each, and a dense attention for the few blocks that read everything.

Tensors are (batch, heads, length, dim), length a multiple of the block; k and v may have fewer heads than q.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from jorip.ops.attention import hidden, shared_heads
from jorip.ops.tiles import Tiles, attend_all, attend_tiles


def attend_blocks(
    q: Tensor, k: Tensor, v: Tensor, real: Tensor, keys: Tensor, whole: Tensor, block: int, scale: float
) -> Tensor:
    """(batch, heads, length, dim). real (batch, length) bool: which keys exist; keys (batch, heads, blocks, slots)
    int64: the key blocks of each query block, counted as often as they are there, -1 = none; whole (batch, blocks)
    bool: query blocks that read every key, whose slots are -1. What reads nothing gets zeros."""
    k, v = shared_heads(q, k), shared_heads(q, v)
    batch, heads, length, _ = q.shape
    count = length // block
    unseen = None if bool(real.all()) else hidden(real, q.dtype).repeat_interleave(heads, 0)
    k, v = k.flatten(0, 1), v.flatten(0, 1)
    y, _ = attend_tiles(q.flatten(0, 1), k, v, Tiles(keys.flatten(0, 1), block), unseen, scale)
    y = y.view(batch, heads, count, block, v.shape[-1])
    if not bool(whole.any()):
        return y.flatten(2, 3)
    most = int(whole.sum(1).max())
    at = whole.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]  # those blocks first
    there = whole.gather(1, at)[:, None, :, None, None]
    whole_q = picked(q.unflatten(2, (count, block)), at).flatten(2, 3)
    z = attend_all(whole_q.flatten(0, 1), k, v, unseen, scale).view(batch, heads, most, block, -1)
    at = at[:, None, :, None, None].expand_as(z)
    return y.scatter_add(2, at, z.masked_fill(~there, 0)).flatten(2, 3)


def picked(x: Tensor, at: Tensor) -> Tensor:
    """(batch, heads, length, ...), places (batch, count) -> (batch, heads, count, ...). Not by `gather`, whose backward
    would keep all of x to know its shape."""
    batch, heads = (torch.arange(n, device=x.device) for n in x.shape[:2])
    return x[batch[:, None, None], heads[:, None], at[:, None]]


def visible(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, scale: float) -> Tensor:
    """Attention to the keys that `seen` (..., 1, keys) shows; zeros, and zero gradient, where it shows none."""
    blind = ~seen.any(-1, keepdim=True)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen | blind, scale=scale)
    return y.masked_fill(blind, 0)
