"""Dropout whose mask is a hash of (seed, step, place, sample, position, column): see `core/random`.

The same example gets the same mask alone, packed, padded, accumulated or on another process.
"""

import torch
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.layout import Layout
from jorip.core.random import keep, mix_ints, salt, uniform_bits


class Dropout(nn.Module):
    """Zeroes entries of rows (rows, width) with probability p and scales the rest by 1 / (1 - p)."""

    def __init__(self, p: float, path: str):
        super().__init__()
        self.p, self.salt = p, salt(path)

    def extra_repr(self) -> str:
        return f"p={self.p}"

    def forward(self, x: Tensor, at: Layout, ctx: Context) -> Tensor:
        if not self.training or self.p == 0 or ctx.key is None:
            return x
        bits = uniform_bits(ctx.row_keys(at), x.shape[-1], self.number(ctx))
        return torch.where(keep(bits, self.p), x * (1 / (1 - self.p)), 0.0)

    def number(self, ctx: Context) -> int:
        """This place's number in this step."""
        assert ctx.key is not None
        return mix_ints(ctx.key.seed, ctx.key.step, self.salt)

    def weights(self, w: Tensor, q_at: Layout, ctx: Context) -> Tensor:
        """The same for attention weights (batch, heads, q, k); a column is a (head, key)."""
        if not self.training or self.p == 0 or ctx.key is None:
            return w
        batch, heads, q, k = w.shape
        keys = q_at.grid(ctx.row_keys(q_at))
        bits = uniform_bits(keys, heads * k, self.number(ctx)).view(batch, q, heads, k).transpose(1, 2)
        return torch.where(keep(bits, self.p), w * (1 / (1 - self.p)), 0.0)
