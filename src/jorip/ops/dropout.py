"""Dropout whose mask is a hash of (seed, step, place, sample, position, column): see `core/random`.

The same example gets the same mask alone, packed, padded, accumulated or on another process.
"""

from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.layout import Layout
from jorip.core.random import drop_scale, mix_ints, salt, uniform_bits


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
        return x * drop_scale(ctx.row_keys(at), x.shape[-1], self.number(ctx), self.p, x.dtype)

    def whole_rows(self, x: Tensor, at: Layout, ctx: Context) -> Tensor:
        """Zeroes whole rows, without scaling the rest: what is left out is a token, not energy."""
        if not self.training or self.p == 0 or ctx.key is None:
            return x
        return x * drop_scale(ctx.row_keys(at), 1, self.number(ctx), self.p, x.dtype).mul_(1 - self.p)

    def number(self, ctx: Context) -> int:
        """This place's number in this step."""
        assert ctx.key is not None
        return mix_ints(ctx.key.seed, ctx.key.step, self.salt)

    def weights(self, w: Tensor, q_at: Layout, ctx: Context) -> Tensor:
        """The same for attention weights (batch, heads, q, k); a column is a (head, key)."""
        if not self.training or self.p == 0 or ctx.key is None:
            return w
        number, keys = self.number(ctx), q_at.grid(ctx.row_keys(q_at))
        # hashed twice, because the longest key of the batch must not change any other's draw
        heads = uniform_bits(keys, w.shape[1], number).transpose(1, 2)
        return w * drop_scale(heads, w.shape[3], number, self.p, w.dtype)
