"""Streams that are projected when a mechanism asks for them: some rows, all of them, or none, where a product with the
projection can be folded into the queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from jorip.core.init import Linear
from jorip.core.layout import Layout, Rows


@dataclass(frozen=True, eq=False)
class Late:
    """linear: of x, to heads * dim; norm: of each head's rows (any, heads, dim); rotate: all rows (rows, heads, dim),
    which reads where each of them stands; None = neither."""

    x: Rows
    linear: nn.Module
    heads: int
    norm: nn.Module | None = None
    rotate: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def of(cls, grid: Tensor, at: Layout) -> Late:
        """What has been projected already: (batch, heads, longest, dim)."""
        return cls(Rows(at.rows(grid.transpose(1, 2)).flatten(1), at), nn.Identity(), grid.shape[1])

    @property
    def plain(self) -> Linear | None:
        """Where the stream is this linear map and nothing else; None too where something is wrapped around it, or
        somebody waits for its call."""
        m = self.linear
        alone = self.norm is None and self.rotate is None and not (m._forward_hooks or m._forward_pre_hooks)
        return m if alone and type(m) is Linear else None

    def inputs(self) -> Tensor:
        """(batch, longest, width)."""
        return self.x.at.grid(self.x.x)

    def grid(self) -> Tensor:
        """(batch, heads, longest, dim)."""
        y = self.made(self.x.x)
        return self.x.at.grid(y if self.rotate is None else self.rotate(y)).transpose(1, 2)

    def some(self, places: Tensor) -> Tensor:
        """Of these places in each sequence (batch, count), -1 = none: (batch, heads, count, dim), zeros for none."""
        lengths, there = self.x.at.lengths, places >= 0
        rows = ((lengths.cumsum(0) - lengths)[:, None] + places)[there]
        y = self.made(self.x.x[rows])
        if self.rotate is not None:
            y = self.rotate(y.new_zeros(len(self.x.x), *y.shape[1:]).index_copy(0, rows, y))[rows]
        return y.new_zeros(*places.shape, *y.shape[1:]).masked_scatter(there[..., None, None], y).transpose(1, 2)

    def made(self, x: Tensor) -> Tensor:
        """(any, heads, dim), not yet rotated."""
        y = self.linear(x).unflatten(-1, (self.heads, -1))
        return y if self.norm is None else self.norm(y)
