"""Attention from blocks of queries to chosen blocks of keys, O(length) time and memory (Zaheer et al. 2020, 2007.14062,
appendix D): tiles of one block each, and a dense attention for the few blocks that read everything.

Tensors are (batch, heads, length, dim), length a multiple of the block; k and v may have fewer heads than q.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from jorip.ops.attention import hidden, shared_heads
from jorip.ops.few import attend_few, put_rows
from jorip.ops.tiles import Tiles, attend_tiles


def attend_blocks(
    q: Tensor, k: Tensor, v: Tensor, real: Tensor, keys: Tensor, whole: Tensor, block: int, scale: float
) -> Tensor:
    """(batch, heads, length, dim). real (batch, length) bool: which keys exist; keys (batch, heads, blocks, slots)
    int64: the key blocks of each query block, counted as often as they are there, -1 = none; whole (batch, blocks)
    bool: query blocks that read every key, whose slots are -1. What reads nothing gets zeros."""
    batch, heads = q.shape[:2]
    k, v = (shared_heads(q, x).flatten(0, 1) for x in (k, v))
    unseen = None if bool(real.all()) else hidden(real, q.dtype)
    each = None if unseen is None else unseen.repeat_interleave(heads, 0)
    tiles = Tiles(keys.flatten(0, 1), block)
    y, _ = attend_tiles(q.flatten(0, 1), k, v, tiles, each, scale)
    y = y.unflatten(0, (batch, heads))
    if not bool(whole.any()):
        return y
    most = int(whole.sum(1).max())
    at = whole.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]  # those blocks first
    rows = (at[..., None] * block + torch.arange(block, device=at.device)).flatten(1)
    k, v = (x.unflatten(0, (batch, heads)) for x in (k, v))
    z = attend_few(picked(q, rows), k, v, unseen, scale)
    return put_rows(y, rows.masked_fill(~whole.gather(1, at).repeat_interleave(block, 1), -1), z)


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
