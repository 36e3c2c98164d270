"""Band attention (A1.2, also called local or sliding-window attention): a row sees its neighbourhood, O(T w D) time
(survey 4.1.1). Alternating with full layers it is the layer pattern of GPT-3 (A1.11; Brown et al. 2020, 2005.14165).

Short sequences take the definition, a mask over all pairs. Long ones are cut into blocks, each of which reads itself
and the rows that its own rows reach, so that no T x T array exists; a block is a small sequence to the same kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import Refused
from jorip.core.mask import Band, Causal, Everything
from jorip.core.random import drop_scale, uniform_bits
from jorip.core.site import Site
from jorip.ops.attention import SHORT, attend, attend_reference, attention_weights, shared_heads
from jorip.ops.band import ROWS
from jorip.ops.dropout import Dropout
from jorip.parts.attention.base import Mechanism, MechanismModule, score_bias
from jorip.parts.attention.costs import all_pairs, tiled
from jorip.parts.attention.patterns.band import Band as Near
from jorip.parts.attention.patterns.base import Pattern
from jorip.parts.attention.sparse.patterned import program_of
from jorip.parts.attention.sparse.rolling import Held
from jorip.parts.attention.sparse.run import run

_BLOCK = 32  # rows at least, however narrow the window is: smaller products cost more than they save


class Local(Mechanism):
    """window: in a causal stack a row sees itself and the `window - 1` rows before it (as Mistral and GPT-Neo count);
    elsewhere itself and the `window` rows on either side. scale: multiplies the scores; None = 1/sqrt(head_dim);
    dropout: of attention weights.

    Refused where a memory is read: queries and memory have no common order.
    """

    ids = ("A1.2", "A1.11")
    window: int = Field(default=256, gt=0, le=2**28)
    scale: float | None = None
    dropout: float = Field(default=0.0, ge=0, lt=1)

    def check(self, site: Site) -> None:
        if site.cross:
            raise Refused(f"{site.path}: a window is over one sequence's own order, a memory has another: use full")

    def reach(self, site: Site) -> tuple[int, int]:
        """How many rows before and after itself a row sees."""
        return (self.window - 1, 0) if site.causal else (self.window, self.window)

    def keeps(self, length: int) -> int:
        """Rows that decoding holds of so many."""
        return min(length, self.window)

    def build(self, site: Site) -> LocalAttention:
        self.check(site)
        scale = site.head_dim**-0.5 if self.scale is None else self.scale
        drop = Dropout(self.dropout, f"{site.path}.weights")
        return LocalAttention(scale, drop, *self.reach(site), self.window if site.causal else None)

    def cost(self, site: Site, shape: Shape) -> Cost:
        """Of the pairs that are computed, the hidden ones at the edges of blocks included."""
        before, after = self.reach(site)
        path = max(1, -(-(shape.length - 1) // max(before, 1)))
        if shape.bias == "none" and not self.dropout and saves(shape.length, before, after):
            program = program_of(near(before, after), shape.length, 1, site.causal, 0, "cpu", False)
            return replace(tiled(site, shape, *program.parts(shape.length)), path=path)
        if shape.bias != "none" or not is_long(shape.length, before, after):
            return replace(all_pairs(site, shape, self.dropout, mask=shape.batch * shape.length**2), path=path)
        size, width = block_size(before), site.n_heads * site.head_dim
        pairs = -(-shape.length // size) * size * (size + before + after)
        kept = 2 * shape.rows * width + shape.batch * site.n_heads * pairs
        return Cost(mixing=2 * shape.batch * pairs * width, activations=kept, path=path, sequential=1)

    @classmethod
    def examples(cls):
        return (cls(window=3), cls(window=2, scale=1.0, dropout=0.1), cls(window=100))


def near(before: int, after: int) -> Pattern:
    return Near(left=before, right=after)


def block_size(before: int) -> int:
    return max(before + 1, _BLOCK)


def is_long(length: int, before: int, after: int) -> bool:
    """Whether blocks compute at most half of all pairs."""
    return 2 * (block_size(before) + before + after) <= length


def saves(length: int, before: int, after: int) -> bool:
    """Whether tiles (`ops/band`) are faster than all pairs with a mask: where blocks are, and where rows see only what
    is before them already with three quarters of all pairs, of which half are hidden anyway."""
    causal = not after and length > SHORT and 4 * (ROWS + before) <= 3 * length
    return causal or is_long(length, before, after)


class LocalAttention(MechanismModule):
    """keeps: rows that decoding holds, None where there is no decoding."""

    def __init__(self, scale: float, dropout: Dropout, before: int, after: int, keeps: int | None):
        super().__init__()
        self.scale, self.dropout = scale, dropout
        self.before, self.after, self.keeps = before, after, keeps

    def forward(self, s, q_at, k_at, carry, ctx: Context):
        mask, bias = ctx.mask & Band(self.before, self.after), self.bias(q_at, k_at, ctx)
        simple = isinstance(ctx.mask, Causal | Everything)
        if simple and isinstance(k_at, Held) and k_at.ring:
            mask = Everything()  # a ring holds nothing that its newest row may not see
        drops = self.training and self.dropout.p and ctx.key is not None
        keys = q_at.grid(ctx.row_keys(q_at)) if drops else None
        cut = None
        if keys is None and bias is None and simple and q_at is k_at and saves(q_at.longest, self.before, self.after):
            return self.tiles(s, q_at), carry
        if simple and bias is None and is_long(q_at.longest, self.before, self.after):
            cut = Blocks(q_at.longest, block_size(self.before), self.before, self.after)
            s = {"q": cut.queries(s["q"]), "k": cut.keys(s["k"]), "v": cut.keys(s["v"])}
            keys = None if keys is None else cut.queries(keys[:, None, :, None])[:, 0, :, 0]
            q_at, k_at = cut.places(q_at, k_at)
        args = s["q"], s["k"], s["v"], mask, q_at, k_at, self.scale, bias
        if keys is None:
            y = attend(*args)
        else:
            y = attend_reference(*args, lambda w: self.drop(w, keys, q_at, k_at, ctx))
        return (y if cut is None else cut.rows(y)), carry

    def tiles(self, s: dict[str, Tensor], at) -> Tensor:
        """A band over whole sequences: keys are gathered where they are needed, and gathered again backwards."""
        q, k, v = s["q"], s["k"], s["v"]
        k, v = shared_heads(q, k), shared_heads(q, v)
        causal = self.keeps is not None
        program = program_of(near(self.before, self.after), at.longest, 1, causal, 0, str(q.device), True)
        return run(program, q, k, v, None if at.full else at.real, causal, self.scale)

    def bias(self, q_at, k_at, ctx: Context) -> Tensor | None:
        """A state of this part holds other keys than those of the other layers, so it shares no bias with them."""
        if isinstance(k_at, Held):
            return None if ctx.position is None else ctx.position.bias(q_at, k_at, ctx)
        return score_bias(q_at, k_at, ctx)

    def drop(self, w: Tensor, keys: Tensor, q_at, k_at, ctx: Context) -> Tensor:
        """Dropout of weights (batch, heads, q, k) by query and offset, the same whole and in blocks; keys (batch, q):
        the queries' hashes."""
        number = self.dropout.number(ctx)
        heads = uniform_bits(keys, w.shape[1], number).transpose(1, 2)
        kept = drop_scale(heads, self.before + self.after + 1, number, self.dropout.p, w.dtype)
        offset = k_at.grid_order[:, None] - q_at.grid_order[:, :, None] + self.before
        offset = offset.clamp(0, self.before + self.after)[:, None].expand(w.shape)
        return w * kept.gather(-1, offset)

    def weights(self, s, q_at, k_at, ctx):
        mask, bias = ctx.mask & Band(self.before, self.after), self.bias(q_at, k_at, ctx)
        return attention_weights(s["q"], s["k"], mask, q_at, k_at, self.scale, bias)


@dataclass(frozen=True)
class Blocks:
    """Sequences of `length` rows cut into blocks of `size`; each block's keys start `before` rows earlier and end
    `after` rows later. Keys may have columns before the first query: earlier calls, at most `before` of them."""

    length: int
    size: int
    before: int
    after: int

    @property
    def count(self) -> int:
        return -(-self.length // self.size)

    def queries(self, q: Tensor) -> Tensor:
        """(batch, heads, length, dim) -> (batch * blocks, heads, size, dim)."""
        q = F.pad(q, (0, 0, 0, self.count * self.size - q.shape[2]))
        return q.unflatten(2, (self.count, self.size)).transpose(1, 2).flatten(0, 1)

    def keys(self, k: Tensor) -> Tensor:
        """(batch, heads, keys, dim) -> (batch * blocks, heads, before + size + after, dim): overlapping views."""
        earlier = k.shape[2] - self.length
        k = F.pad(k, (0, 0, self.before - earlier, self.count * self.size - self.length + self.after))
        k = k.unfold(2, self.before + self.size + self.after, self.size)
        return k.permute(0, 2, 1, 4, 3).flatten(0, 1)

    def places(self, q_at, k_at) -> tuple[Held, Held]:
        """Where the rows of all blocks are."""
        first = q_at.grid_order[:, :1].expand(q_at.batch, 1)
        steps = torch.arange(self.count * self.size, device=first.device)
        real = k_at.real.expand(q_at.batch, -1)[:, None, :, None].to(torch.int64)
        real = self.keys(real)[:, 0, :, 0] > 0
        starts = (first + steps[:: self.size]).flatten()[:, None]
        span = torch.arange(-self.before, self.size + self.after, device=first.device)
        return Held.of((first + steps).reshape(-1, self.size)), Held.of((starts + span).masked_fill(~real, -1))

    def rows(self, y: Tensor) -> Tensor:
        """(batch * blocks, heads, size, dim) -> (batch, heads, length, dim)."""
        y = y.unflatten(0, (-1, self.count)).transpose(1, 2).flatten(2, 3)
        return y[:, :, : self.length]
