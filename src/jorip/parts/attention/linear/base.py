"""Attention that folds what it has seen into a matrix (survey 4.2): features of keys times values, summed up by a rule.

Where only the past is seen it runs in chunks (`ops/linear_attention_steps`); decoding keeps the matrix, O(1) for any
length. Where everything is seen, or a memory is read, the plain sum is made once (`ops/linear_attention_whole`). Rules
for which order matters run there in both directions, and the answers are averaged; they cannot read a memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import ConfigError, Refused
from jorip.core.mask import Causal
from jorip.core.site import Site
from jorip.core.state import State
from jorip.ops.linear_attention import weights
from jorip.ops.linear_attention_scan import precise, scan
from jorip.ops.linear_attention_whole import fold, read
from jorip.parts.attention.base import Mechanism, MechanismModule, Stream, qkv
from jorip.parts.attention.linear.costs import MadeOf, chunks, one_sum
from jorip.parts.attention.linear.features.base import FeatureModule
from jorip.parts.attention.linear.finish import Finish
from jorip.parts.attention.linear.rules.base import Entries, Rule
from jorip.parts.position.base import PositionModule


class Folding(Mechanism, abstract=True):
    """Base: `feature_size`, `feature_macs` and `parts` say what it is made of.

    chunk: rows whose pairs are looked at together, where only the past is seen; changes speed and memory alone. None =
    as the rule is fastest: 64, for the plain sum and decays of channels 128."""

    chunk: int | None = Field(default=None, gt=0, le=2**16)

    def feature_size(self, site: Site) -> int:
        return site.head_dim

    def feature_macs(self, site: Site) -> int:
        """For one row and head."""
        return 0

    def entry_macs(self, site: Site) -> int:
        """Of what the rule makes of its streams, for one row."""
        return 0

    def parts(self, site: Site) -> tuple[FeatureModule, Rule, Finish | None]:
        raise TypeError(f"{self.kind} has no parts")

    def check(self, site: Site) -> None:
        _, rule, _ = self.parts(site)
        if site.cross and rule.ordered:
            raise Refused(
                f"{site.path}: {self.kind} cannot read a memory with a rule for which order matters: a memory has no "
                "order towards the queries: use linear with rule: sum, or full"
            )

    def build(self, site: Site) -> FoldingAttention:
        self.check(site)
        return FoldingAttention(*self.parts(site), site, self.feature_size(site), self.chunk)

    def keeps(self, length: int) -> int:
        return 0

    def state_size(self, site, length, streams):
        _, rule, _ = self.parts(site)
        return site.n_kv_heads * self.feature_size(site) * (site.head_dim + rule.normalised)

    def cost(self, site: Site, shape: Shape) -> Cost:
        """Without the delta rules' triangular systems, which are no products: C (dim / 2) a row more."""
        with torch.device("meta"):
            features, rule, finish = self.parts(site)
        step = rule.step(features.features())
        made_of = MadeOf(
            size=self.feature_size(site),
            dim=site.head_dim + rule.normalised,
            chunk=self.chunk or step.together,
            step=step,
            feature_macs=self.feature_macs(site),
            entry_macs=self.entry_macs(site),
            entries=rule.kept,
            copies=features.copies,
            spare=features.spare,
            finishes=0 if finish is None else 1 + finish.gated,
        )
        return one_sum(site, shape, made_of) if not site.causal and not rule.ordered else chunks(site, shape, made_of)


@dataclass
class Folded(State):
    """matrix (batch, key heads, size, dim, with a column more for the denominators): all rows so far, in float32 or
    better; filled: whether a memory is already in it."""

    matrix: Tensor
    filled: bool = False


class FoldingAttention(MechanismModule):
    folds = True

    def __init__(
        self,
        features: FeatureModule,
        rule: Rule,
        finish: Finish | None,
        site: Site,
        size: int,
        chunk: int | None = None,
    ):
        super().__init__()
        self.features, self.rule, self.finish = features, rule, finish
        self.path, self.causal, self.cross, self.size, self.chunk = site.path, site.causal, site.cross, size, chunk

    def streams(self, site: Site) -> dict[str, Stream]:
        return qkv(site) | self.rule.streams(site) | (self.finish.streams(site) if self.finish else {})

    def new_state(self, batch, capacity, shapes, dtype, device=None) -> Folded:
        heads, dim = shapes["v"]
        dtype = torch.promote_types(dtype, torch.float32)
        return Folded(torch.zeros(batch, heads, self.size, dim + self.rule.normalised, dtype=dtype, device=device))

    def forward(self, s, q_at, k_at, carry, ctx: Context):
        self.may(ctx)
        state = ctx.part_state(self.path)
        y = self.everything(s, k_at, state) if self.whole else self.in_order(s, q_at, state)
        return (y if self.finish is None else self.finish(y, s)), carry

    @property
    def whole(self) -> bool:
        """Whether one sum over all rows is the answer."""
        return not self.causal and not self.rule.ordered

    def may(self, ctx: Context) -> None:
        """Raises ConfigError for what would need scores of single pairs."""
        fits = isinstance(ctx.mask, Causal) if self.causal else ctx.mask.everything
        if not fits:
            raise ConfigError(
                f"{self.path}: linear attention sums over all rows {'so far' if self.causal else 'of a sequence'} and "
                f"cannot leave out pairs, found the mask {ctx.mask!r}: give documents as sequences of their own, or "
                "use full or local attention"
            )
        if ctx.position is not None and type(ctx.position).bias is not PositionModule.bias:
            raise ConfigError(
                f"{self.path}: linear attention has no scores of pairs that {type(ctx.position).__name__} could add "
                "to: use rotary, sinusoidal or no positions, or full attention"
            )

    def everything(self, s: dict[str, Tensor], k_at, state: Folded | None) -> Tensor:
        features = self.rule.features(self.features.features())
        if state is not None and state.filled:
            matrix = state.matrix
        else:
            weight = self.rule.entries(s, holes(k_at, s["k"])).weight
            matrix = fold(self.features.before(s["k"]), s["v"], weight, features, self.size)
            if state is not None:
                state.matrix, state.filled = matrix.to(state.matrix.dtype), True
        return read(self.features.before(s["q"]), matrix, features)

    def in_order(self, s: dict[str, Tensor], at, state: Folded | None) -> Tensor:
        q, k, e = self.entries(s, at)
        v, step = s["v"], self.rule.step(self.rule.features(self.features.features()))
        first = self.new_state(q.shape[0], 0, {"v": (v.shape[1], v.shape[3])}, v.dtype, v.device).matrix
        chunk = self.chunk or step.together
        y, last = scan(step, chunk, first if state is None else state.matrix, q, k, v, *self.rule.inputs(e))
        if state is not None:
            state.matrix = last
        if self.causal:
            return y
        back = [None if x is None else x.flip(2) for x in (q, k, v, *self.rule.inputs(e))]
        return (y + scan(step, chunk, first, *back)[0].flip(2)) / 2

    def entries(self, s: dict[str, Tensor], at) -> tuple[Tensor, Tensor, Entries]:
        """Queries and keys before the map, and what the rule says of each row."""
        e = self.rule.entries(s, holes(at, s["k"]))
        return self.features.before(s["q"]), self.features.before(s["k"]), e

    def weights(self, s, q_at, k_at, ctx):
        """None where outputs are no shares of values: rules that divide by no sum, and maps that may be negative.
        Raises ConfigError in decoding, where the rows that were folded have no shares any more."""
        if ctx.part_state(self.path) is not None:
            raise ConfigError(
                f"{self.path}: linear attention has no map while it decodes: rows that were folded are not kept: call "
                "the model without a state"
            )
        features = self.rule.features(self.features.features())
        if not self.rule.normalised or features.least:
            return None
        e = self.rule.entries(s, holes(k_at, s["k"]))
        q = features.queries(precise(self.features.before(s["q"])))
        k = features.keys(precise(self.features.before(s["k"])))
        k = k if e.weight is None else k * e.weight
        if not self.rule.ordered:
            return weights(q, k, ctx.mask.dense(q_at, k_at), None, features.least)
        seen = Causal().dense(q_at, k_at)
        ahead = weights(q, k, seen, e.decay, features.least)
        if self.causal:
            return ahead
        # from the end: the decays of the rows after the query
        late = None if e.decay is None else e.decay.flip(2)
        back = weights(q.flip(2), k.flip(2), torch.ones_like(seen).tril(), late, features.least)
        return (ahead + back.flip(2, 3)) / 2


def holes(at, like: Tensor) -> Tensor | None:
    """(batch, 1, length, 1): 1 for rows, 0 for what only fills the grid up; None where nothing does."""
    return None if at.full else at.real[:, None, :, None].to(like.dtype)
