"""BigBird (A1.9; Zaheer et al. 2020, 2007.14062): rows in blocks; each block reads a window of blocks around itself,
global blocks at both ends (which read everything) and a few random blocks. O(T) time and memory.

This is the internal form (ITC): the global rows are rows of the sequence. Long inputs gather the blocks that are read
(`ops/block_sparse`); short ones, where nothing is saved, take the definition, all pairs with a mask.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import Refused
from jorip.core.kept import kept
from jorip.core.layout import Layout
from jorip.core.random import mix_ints, salt
from jorip.core.site import Site
from jorip.ops.attention import attend, attend_reference, attention_weights
from jorip.ops.block_sparse import attend_blocks
from jorip.ops.dropout import Dropout
from jorip.parts.attention.base import Mechanism, MechanismModule, score_bias
from jorip.parts.attention.costs import Tiled, all_pairs, tiled
from jorip.parts.attention.sparse import block_plan, hugging_face_plan
from jorip.parts.attention.sparse.block_plan import Pattern, Plan

_KEPT = 512  # rows up to which what is chosen of all pairs is kept for the next call: 1 MiB for each head


class BigBird(Mechanism):
    """block: rows of a block; random: random blocks of each query block and head, drawn once by `seed`; window: blocks,
    its own in the middle; global_blocks: half of them at the start, half at the end. Defaults are the paper's base
    model (its table 8). Table 1's ablations: `global_blocks=0`, `window=1`, `random=0`.

    plan: "paper", or "huggingface" for what transformers computes (`hugging_face_plan`), where the blocks are cut in
    the caller's padded form. dropout: of weights, only with the latter and only where a short input is attended in
    full: the sparse form of the released models has none.

    Refused in a decoder and where a memory is read.
    """

    ids = ("A1.9",)
    block: int = Field(default=64, gt=0, le=2**20)
    random: int = Field(default=3, ge=0, le=2**10)
    window: int = Field(default=3, gt=0, le=2**10)
    global_blocks: int = Field(default=2, ge=0, le=2**10)
    seed: int = Field(default=0, ge=0, lt=2**63)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    plan: Literal["paper", "huggingface"] = "paper"

    @model_validator(mode="after")
    def _fits(self):
        if self.window % 2 == 0:
            raise ValueError(f"window is centred on a block, so it must be odd, found {self.window}")
        if self.plan == "paper" and self.dropout:
            raise ValueError(f"the paper's plan has no dropout of weights: set dropout=0, found {self.dropout}")
        if self.plan == "huggingface" and (self.window, self.global_blocks) != (3, 2):
            raise ValueError(
                "transformers' plan has a window of 3 and 2 global blocks, "
                f"found {self.window} and {self.global_blocks}: use plan='paper'"
            )
        return self

    def check(self, site: Site) -> None:
        if site.cross:
            raise Refused(f"{site.path}: big_bird cannot read a memory: its blocks are of one sequence: use full")
        if site.causal:
            raise Refused(
                f"{site.path}: big_bird cannot be causal: its last block is global, so every row would see the end: "
                "use local or full"
            )
        if self.plan == "huggingface" and site.max_len is None:
            raise Refused(f"{site.path}: transformers' plan depends on max_len: set it on the architecture")

    def build(self, site: Site) -> BigBirdAttention:
        self.check(site)
        return BigBirdAttention(self, site)

    def cost(self, site: Site, shape: Shape) -> Cost:
        """Of the pairs that are computed: slots that are empty near the ends included."""
        blocks = -(-shape.length // self.block)
        if blocks <= self.pattern.slots - self.window // 2 + self.random:  # everything
            return all_pairs(site, shape)
        path = 2 if self.global_blocks else -(-(blocks - 1) // max(self.window // 2, 1))
        if shape.bias != "none" or blocks <= self.saves_from:
            return replace(self.chosen_cost(site, shape, blocks), path=path)
        rows, slots = blocks * self.block, self.pattern.slots + self.random
        tiles = Tiled(rows * slots * self.block, rows, rows=self.block)
        whole = min(self.global_blocks, blocks) * self.block
        filled, several = rows != shape.length, shape.batch > 1
        cost = tiled(site, shape, [tiles], whole, copied=filled or several)
        streams = 3 * shape.rows * site.n_heads * site.head_dim  # filled up, then laid out by heads
        return replace(cost, work=cost.work + streams * (filled and several), path=path)

    def chosen_cost(self, site: Site, shape: Shape, blocks: int) -> Cost:
        """Of all pairs, and a table of what is chosen of them, to which each layer adds the position's bias."""
        kept, biased = shape.length <= _KEPT, shape.bias != "none"
        cost, table = all_pairs(site, shape), site.n_heads * (blocks * self.block) ** 2
        table *= 1 if kept else shape.batch
        read = table * (shape.bias != "learned")
        own = read * (biased or not kept)  # of this layer alone
        lasting = {"lasting": table * kept, "borrowed": (read - own) * kept}
        made = table * (not kept) + table * biased  # the second from the first
        work = max(made, cost.work + min(made, table))
        return replace(cost, activations=cost.activations + own, work=work, held=0, **lasting)

    @property
    def pattern(self) -> Pattern:
        return Pattern((self.global_blocks + 1) // 2, self.global_blocks // 2, self.window)

    @property
    def saves_from(self) -> int:
        """Blocks up to which all pairs are computed: not more than those that a block reads anyway, and as many again
        of the random ones, as in transformers, which makes such inputs full attention."""
        return self.pattern.slots + 2 * self.random

    @classmethod
    def examples(cls):
        one_end = cls(block=1, random=1, global_blocks=1, seed=3)
        return (cls(), cls(block=1, random=0), cls(block=2, random=1, window=1, global_blocks=0), one_end)


class BigBirdAttention(MechanismModule):
    def __init__(self, spec: BigBird, site: Site):
        super().__init__()
        self.spec, self.heads, self.index, self.max_len = spec, site.n_heads, site.index, site.max_len
        self.scale = site.head_dim**-0.5
        self.seed = mix_ints(spec.seed, salt(site.path))
        self.dropout = Dropout(spec.dropout, f"{site.path}.weights")

    def extra_repr(self) -> str:
        return f"block={self.spec.block}, random={self.spec.random}, plan={self.spec.plan!r}"

    def forward(self, s, q_at, k_at, carry, ctx: Context):
        frame, lengths = self.frame(q_at)
        long = frame.longest // self.spec.block > self.spec.saves_from
        if long and ctx.mask.everything and score_bias(q_at, k_at, ctx) is None:
            return self.sparse(s, q_at, frame, self.plan(frame, lengths)), carry
        args = s["q"], s["k"], s["v"], ctx.mask, q_at, k_at, self.scale, self.bias(s["q"], q_at, k_at, ctx)
        if self.training and self.dropout.p and ctx.key is not None and not long:
            return attend_reference(*args, lambda w: self.dropout.weights(w, q_at, ctx)), carry
        return attend(*args), carry

    def weights(self, s, q_at, k_at, ctx):
        bias = self.bias(s["q"], q_at, k_at, ctx)
        return attention_weights(s["q"], s["k"], ctx.mask, q_at, k_at, self.scale, bias)

    def frame(self, at: Layout) -> tuple[Layout, Tensor]:
        """The rows as they are cut into blocks, the end filled up; and (batch,) how long each sequence is for that: its
        own length, or for transformers' plan the caller's padded one, in which padding comes before and between."""
        block, place, lengths, longest = self.spec.block, at.order, at.lengths, at.longest
        if self.spec.plan == "huggingface" and len(at.edge_shape) == 2:
            longest = at.edge_shape[1]
            lengths = torch.full_like(at.lengths, longest)
            if at.edge_index is not None:
                place = at.edge_index - at.sample * longest
        longest = -(-longest // block) * block
        full = at.full and longest == at.longest
        return replace(at, longest=longest, slots=None if full else at.sample * longest + place, start=None), lengths

    def plan(self, frame: Layout, lengths: Tensor) -> Plan:
        """Of all sequences; those of as many blocks share it."""
        spec, most = self.spec, frame.longest // self.spec.block
        sizes, which = (-(-lengths // spec.block)).unique(return_inverse=True)
        if spec.plan == "paper":
            return block_plan.plan(sizes, most, self.heads, spec.pattern, spec.random, self.seed).of(which)
        seed = self.index if self.training else None
        assert self.max_len is not None
        return hugging_face_plan.plan(sizes, most, self.heads, spec.block, spec.random, seed, self.max_len).of(which)

    def sparse(self, s: dict[str, Tensor], at: Layout, frame: Layout, plan: Plan) -> Tensor:
        """The streams in blocks and back; what fills the last block up is no key."""
        q, k, v = (frame.grid(at.rows(s[n].transpose(1, 2))).transpose(1, 2) for n in "qkv")
        real = frame.grid(torch.ones_like(at.order, dtype=torch.bool))
        y = attend_blocks(q, k, v, real, plan.keys, plan.whole, self.spec.block, self.scale)
        return at.grid(frame.rows(y.transpose(1, 2))).transpose(1, 2)

    def bias(self, q: Tensor, q_at, k_at, ctx: Context) -> Tensor | None:
        """(batch, heads, q, k): the definition, the logarithm of how often a key counts, with the position's bias; None
        where every key counts once."""
        bias, spec = score_bias(q_at, k_at, ctx), self.spec
        frame, lengths = self.frame(q_at)
        sizes = -(-lengths // spec.block)
        if spec.plan == "paper" and 0 < q_at.longest <= _KEPT and bool((sizes == sizes[0]).all()):
            chosen = (int(sizes[0]), q_at.longest, self.heads, spec.pattern, spec.random, self.seed, spec.block)
            seen = seen_by_all(*chosen, q.dtype, str(q.device))
        else:
            seen = self.seen(q, q_at, frame, lengths)
        return bias if seen is None else seen if bias is None else seen + bias

    def seen(self, q: Tensor, q_at, frame: Layout, lengths: Tensor) -> Tensor | None:
        """Without the position's bias, for any plan and any lengths."""
        counts = self.plan(frame, lengths).counts()
        if bool((counts == 1).all()):
            return None
        seen = counts.to(q.dtype).log()
        if frame.slots is None or self.spec.plan == "paper":  # blocks are cut where the rows lie
            return spread(seen, self.spec.block)[:, :, : q_at.longest, : q_at.longest]
        width, slots = max(frame.longest, 1), frame.slots
        of = q_at.grid(slots % width) // self.spec.block
        sample = torch.arange(q_at.batch, device=of.device)[:, None, None, None]
        head = torch.arange(self.heads, device=of.device)[None, :, None, None]
        return seen[sample, head, of[:, None, :, None], of[:, None, None, :]]


@kept(16)
def seen_by_all(
    n: int, length: int, heads: int, pattern: Pattern, random: int, seed: int, block: int, dtype, device
) -> Tensor | None:
    """(1, heads, length, length): 0 where the paper's plan for n blocks reads, -inf elsewhere; None where it reads
    everything."""
    counts = block_plan.plan(torch.tensor([n], device=device), n, heads, pattern, random, seed).counts()
    if bool((counts == 1).all()):
        return None
    return spread(counts.to(dtype).log(), block)[:, :, :length, :length]


def spread(x: Tensor, block: int) -> Tensor:
    """(..., blocks, blocks) -> the same of rows."""
    *first, queries, keys = x.shape
    x = x[..., :, None, :, None].expand(*first, queries, block, keys, block)
    return x.reshape(*first, queries * block, keys * block)
