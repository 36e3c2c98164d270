"""Attention over a sparse pattern (survey 4.1.1, Eq 7): softmax over the pairs that the pattern allows, nothing else.

The definition is a mask over all pairs. Where the pattern allows few of them its tiles are computed instead
(`program`): time and memory of the pairs that they hold, in training too. Both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import ConfigError, Refused
from jorip.core.kept import kept
from jorip.core.mask import Causal, Everything, Mask
from jorip.core.random import mix_ints, salt
from jorip.core.site import Site
from jorip.core.state import State
from jorip.ops.attention import attend, attention_weights, hidden, shared_heads
from jorip.ops.fused import has_fused
from jorip.ops.stairs import attend_stairs, pairs
from jorip.parts.attention.base import Mechanism, MechanismModule, score_bias
from jorip.parts.attention.costs import Tiled, all_pairs, tiled
from jorip.parts.attention.patterns.base import Pattern
from jorip.parts.attention.sparse.pinned import Pinned
from jorip.parts.attention.sparse.program import Program, Situation, compile, group_seed, seen
from jorip.parts.attention.sparse.rolling import Rolling
from jorip.parts.attention.sparse.run import run

_SHORT = 128  # rows up to which all pairs are computed: tiles have nothing to save there
_TILE = 64  # rows of a tile where the pattern has no grain of its own
_KEPT = 512  # rows up to which masks of all pairs are kept for the next call: 1 MiB, or as much for each head
_EDGE = 40  # pairs of a table that take as long as a single edge, whose key is fetched for it alone
_SPAN = 512  # rows up to which path lengths are counted, pair by pair


class Patterned(Mechanism, abstract=True):
    """executor: "auto" computes tiles where they hold at most half of all pairs, "dense" always all pairs, "tiles"
    never. Whatever it says, all pairs are computed where tiles cannot be: under other masks than causal, with a
    position's bias, and when going on from a state.

    Refused where a memory is read: queries and memory have no common order.
    """

    executor: Literal["auto", "dense", "tiles"] = "auto"

    def at(self, site: Site) -> Pattern:
        """The pattern here."""
        raise TypeError(f"{self.kind} has no pattern")

    def check(self, site: Site) -> None:
        if site.cross:
            raise Refused(
                f"{site.path}: {self.kind} is a pattern over one sequence's own order, a memory has another: use full"
            )
        self.at(site).check(site)

    def build(self, site: Site) -> SparseAttention:
        self.check(site)
        return SparseAttention(self.at(site), site, site.head_dim**-0.5, self.executor)

    def state_size(self, site, length, streams):
        first, last = self.at(site).memory or (0, length)
        return (first + min(length, last)) * sum(s.heads * s.dim for s in streams.values() if s.memory)

    def cost(self, site: Site, shape: Shape) -> Cost:
        """Of the pairs that are computed, the hidden ones at the edges of tiles included; all of them where positions
        add a bias."""
        pattern = self.at(site)
        groups = self.tiles(site, shape.length) if shape.bias == "none" else None
        path = layers_to_span(
            pattern, shape.length, site.causal, site.n_heads, seed_of(site) if pattern.uses_length else 0
        )
        if groups is None:
            return replace(self.whole_cost(site, shape), path=path)
        costs = [tiled(site, shape, parts, whole, len(groups)) for parts, whole in groups]
        return replace(sum(costs[1:], costs[0]), path=path)

    def whole_cost(self, site: Site, shape: Shape) -> Cost:
        """Where no tiles are computed."""
        pattern = self.at(site)
        table = (1 if is_same_for_heads(pattern) else site.n_heads) * shape.length**2
        first = site.index == 0 or pattern.uses_length  # later layers have the same one
        if shape.bias == "none" and self.climbs(site, shape.length):
            cost, mixing = all_pairs(site, shape), 2 * shape.batch * site.n_heads * site.head_dim * pairs(shape.length)
            return replace(cost, mixing=mixing, lasting=table * first, borrowed=table * first)
        if shape.length <= _KEPT and not tags(pattern):
            cost = all_pairs(site, shape, added=table)
            return replace(cost, lasting=table * first, borrowed=cost.borrowed * first)
        cost = all_pairs(site, shape, mask=shape.batch * table)
        return replace(cost, shared=shape.batch * table * first // 4)

    def climbs(self, site: Site, length: int) -> bool:
        """Whether there are stairs instead of all pairs."""
        fits = self.executor == "auto" and site.causal and site.n_heads == site.n_kv_heads
        return fits and stairs_of(self.at(site), length, "cpu", torch.float32) is not None

    def tiles(self, site: Site, length: int) -> list[tuple[list[Tiled], int]] | None:
        """For each group of heads the sets of tiles and how many rows read everything; None where all pairs are
        computed."""
        pattern = self.at(site)
        if self.executor == "auto" and is_crowded(pattern, length):
            return None
        heads = site.n_heads // len(pattern.groups)
        seeds = [group_seed(seed_of(site), i) if p.uses_length else 0 for i, p in enumerate(pattern.groups)]
        programs = [program_of(p, length, heads, site.causal, s, "cpu", False) for p, s in zip(pattern.groups, seeds)]
        dense = all_dense(programs, length, self.executor, lambda: self.climbs(site, length))
        return None if dense else [p.parts(length) for p in programs]


def seed_of(site: Site) -> int:
    return mix_ints(salt(site.path))


@kept(64)
def program_of(pattern: Pattern, length: int, heads: int, causal: bool, seed: int, device, masks: bool) -> Program:
    """For sequences of the same length, or where the length does not matter; nobody is marked."""
    n = torch.tensor([length], device=device)
    return compile(pattern, Situation(n, length, heads, causal, seed, unmarked(pattern, n)), tile_rows(pattern), masks)


@kept(32)
def mask_of(
    pattern: Pattern, length: int, heads: int, causal: bool, everything: bool, seed: int, dtype, device
) -> Tensor:
    """The definition for sequences that are all this long, as numbers to add to the scores, (1, heads or 1, length,
    length); everything: what is later is hidden only where the pattern hides it."""
    n, place = torch.tensor([0 if causal else length], device=device), torch.arange(length, device=device)[None]
    allowed = seen(pattern, Situation(n, length, heads, causal, seed, {}), place, place)
    return hidden(allowed if everything else allowed & (place <= place.T), dtype)


def is_same_for_heads(pattern: Pattern) -> bool:
    return len(pattern.groups) == 1 and not pattern.uses_length


def stairs_of(pattern: Pattern, length: int, device: str, dtype: torch.dtype) -> Tensor | None:
    """What `ops/stairs` adds to the scores of a causal stack, (length, length); None where it is not for it: too short
    or too long an input, marks, heads that differ, rows that see nothing."""
    if not _SHORT < length <= _KEPT or tags(pattern) or not is_same_for_heads(pattern):
        return None
    return _stairs_of(pattern, length, device, dtype)


@kept(32)
def _stairs_of(pattern: Pattern, length: int, device: str, dtype: torch.dtype) -> Tensor | None:
    add = mask_of(pattern, length, 1, True, False, 0, dtype, device)[0, 0]
    return add if bool((add.amax(-1) == 0).all()) else None


def tile_rows(pattern: Pattern) -> int:
    """The largest grain that is a handy tile; short grains are joined."""
    grains = [g for p in pattern.members_of_union if (g := p.grain) is not None and g <= 2 * _TILE]
    return _TILE if not grains else max(grains) * max(1, _TILE // (2 * max(grains)))


def is_crowded(pattern: Pattern, length: int) -> bool:
    """Whether there are so many single edges that all pairs, with a mask that is kept from call to call, are faster."""
    edges = min(sum(m.edges for m in p.members_of_union) for p in pattern.groups)
    return length <= _KEPT and not tags(pattern) and 2 * _EDGE * edges > length


def all_dense(programs: list[Program], length: int, executor: str, stairs: Callable[[], bool]) -> bool:
    """Whether all pairs are computed: where every group's tiles hold more than half of them, or more than a third where
    stairs leave later ones out as well."""
    if executor != "auto" or length <= _SHORT:
        return executor != "tiles"
    least = min(p.pairs(length) for p in programs)
    return 2 * least > length**2 or (3 * least > length**2 and stairs())


def layers_to_span(pattern: Pattern, length: int, causal: bool, heads: int, seed: int = 0) -> int:
    """Layers until every row feels every row that it can ever feel, counted on the pairs of at most 512 rows (marks are
    nobody)."""
    return _spanning(pattern, min(length, _SPAN), causal, heads, seed)


@lru_cache(256)
def _spanning(pattern: Pattern, length: int, causal: bool, heads: int, seed: int) -> int:
    place, n = torch.arange(length)[None], torch.tensor([length])
    none = unmarked(pattern, n)
    edges = seen(pattern, Situation(n, length, heads, causal, seed, {}), place, place, none, none)
    step = edges[0].any(0) & ((place <= place.T) if causal else True) | torch.eye(length, dtype=torch.bool)
    powers = [step.float()]  # of 1, 2, 4 ... layers
    while not torch.equal(twice := (powers[-1] @ powers[-1] > 0).float(), powers[-1]):
        powers.append(twice)
    reached, layers = torch.eye(length), 0
    for i, power in reversed(list(enumerate(powers))):  # as many layers as are not yet enough
        further = (reached @ power > 0).float()
        if not torch.equal(further, powers[-1]):
            reached, layers = further, layers + 2**i
    return layers + 1


def tags(pattern: Pattern) -> list[str]:
    """Of the rows that calls mark for it."""
    return [t for g in pattern.groups for p in g.members_of_union if (t := getattr(p, "tag", None))]


def unmarked(pattern: Pattern, n: Tensor) -> dict[str, Tensor]:
    """Marks of nobody, for sequences of n (1,) rows."""
    return {t: torch.zeros(1, int(n), dtype=torch.bool, device=n.device) for t in tags(pattern)}


@dataclass(frozen=True, eq=False)
class Shown(Mask):
    """A mask that was made before: seen (batch, 1 or heads, q, k) bool."""

    seen: Tensor
    everything = False

    def dense(self, q_at, k_at):
        return self.seen


@dataclass(frozen=True, eq=False)
class Added(Mask):
    """A mask that was made before, as numbers to add to the scores: add (1, 1 or heads, q, k)."""

    add: Tensor
    everything = False

    def dense(self, q_at, k_at):
        return (self.add == 0).expand(q_at.batch, *self.add.shape[1:])

    def added(self, dtype):
        return self.add if self.add.dtype == dtype else None


class SparseAttention(MechanismModule):
    """pattern: which pairs; its random members draw by the place in the model, so each layer has its own graph."""

    def __init__(self, pattern: Pattern, site: Site, scale: float, executor: str = "auto"):
        super().__init__()
        self.pattern, self.scale, self.executor = pattern, scale, executor
        self.reads = tuple(tags(pattern))
        self.heads, self.causal, self.seed, self.path = site.n_heads, site.causal, seed_of(site), site.path

    def extra_repr(self) -> str:
        return f"pattern={self.pattern!r}"

    def new_state(self, batch, capacity, shapes, dtype, device=None) -> State:
        if self.pattern.memory is None:
            return super().new_state(batch, capacity, shapes, dtype, device)
        first, window = self.pattern.memory
        if first:
            return Pinned.empty(batch, capacity, first, window, shapes, dtype, device)
        return Rolling.empty(batch, capacity, window, shapes, dtype, device)

    def forward(self, s, q_at, k_at, carry, ctx: Context):
        q, k, v = s["q"], s["k"], s["v"]
        programs = self.programs(s, q_at, k_at, ctx)
        if programs is None:
            bias, stairs = score_bias(q_at, k_at, ctx), self.stairs(s, q_at, k_at, ctx)
            if bias is None and stairs is not None:
                return attend_stairs(q, k, v, stairs, self.scale), carry
            return attend(q, k, v, self.mask(q, q_at, k_at, ctx), q_at, k_at, self.scale, bias), carry
        real = None if q_at.full else q_at.real
        k, v = shared_heads(q, k), shared_heads(q, v)
        each = zip(programs, *(x.chunk(len(programs), 1) for x in (q, k, v)))
        ys = [run(p, qs, ks, vs, real, self.causal, self.scale) for p, qs, ks, vs in each]
        return (ys[0] if len(ys) == 1 else torch.cat(ys, 1)), carry

    def weights(self, s, q_at, k_at, ctx):
        mask, bias = self.mask(s["q"], q_at, k_at, ctx), score_bias(q_at, k_at, ctx)
        return attention_weights(s["q"], s["k"], mask, q_at, k_at, self.scale, bias)

    def programs(self, s, q_at, k_at, ctx: Context) -> list[Program] | None:
        """One for each group of heads, or None where all pairs are computed."""
        fits = q_at is k_at and q_at.start is None and isinstance(ctx.mask, Causal | Everything)
        short = self.executor == "auto" and q_at.longest <= _SHORT
        if not fits or self.executor == "dense" or short or not q_at.longest:
            return None
        if score_bias(q_at, k_at, ctx) is not None:
            return None
        if self.executor == "auto" and q_at.full and is_crowded(self.pattern, q_at.longest):
            return None
        found = [self.program(p, i, q_at, ctx) for i, p in enumerate(self.pattern.groups)]
        stairs = lambda: self.stairs(s, q_at, k_at, ctx) is not None  # noqa: E731
        return None if all_dense(found, q_at.longest, self.executor, stairs) else found

    def stairs(self, s, q_at, k_at, ctx: Context) -> Tensor | None:
        """Where a stack that is causal has a few hundred rows whose tiles would save nothing."""
        q, k, v = s["q"], s["k"], s["v"]
        fresh = q_at is k_at and q_at.start is None and q_at.full and isinstance(ctx.mask, Causal)
        if not fresh or self.executor != "auto" or not self.causal or q.shape[1] != k.shape[1] or not has_fused(q, v):
            return None
        return stairs_of(self.pattern, q_at.longest, str(q.device), q.dtype)

    def program(self, pattern: Pattern, group: int, at, ctx: Context) -> Program:
        heads = self.heads // len(self.pattern.groups)
        seed = group_seed(self.seed, group) if pattern.uses_length else 0  # what draws nothing is the same everywhere
        tagged = self.marks(at)
        own = pattern.uses_length and not at.full
        if not tagged and not own:
            return program_of(pattern, at.longest, heads, self.causal, seed, str(at.lengths.device), True)
        name = ("program", pattern, heads, seed, id(at))
        if name not in ctx.shared:  # the layout is kept beside it, so that its id cannot come to name another one
            n = at.lengths if own else at.lengths.new_tensor([at.longest])
            situation = Situation(n, at.longest, heads, self.causal, seed, tagged)
            ctx.shared[name] = at, compile(pattern, situation, tile_rows(pattern))
        return ctx.shared[name][1]

    def mask(self, q: Tensor, q_at, k_at, ctx: Context) -> Mask:
        """For queries of q's type and place."""
        seed = self.seed if self.pattern.uses_length else 0
        same = q_at is k_at and q_at.start is None and q_at.full and not tags(self.pattern)
        if same and q_at.longest <= _KEPT and isinstance(ctx.mask, Causal | Everything):
            heads = self.heads if not is_same_for_heads(self.pattern) else 1
            how = self.causal, ctx.mask.everything, seed, q.dtype, str(q.device)
            return Added(mask_of(self.pattern, q_at.longest, heads, *how))
        name = ("pattern", self.pattern, seed, id(q_at), id(k_at))
        if name not in ctx.shared:
            n = torch.zeros_like(q_at.total) if self.causal else q_at.total
            s = Situation(n, k_at.longest, self.heads, self.causal, self.seed, {})
            marks = (self.marks(q_at), self.marks(k_at)) if tags(self.pattern) else ({}, {})
            allowed = seen(self.pattern, s, q_at.grid_order, k_at.grid_order, *marks)
            ctx.shared[name] = q_at, k_at, Shown(ctx.mask.dense(q_at, k_at) & allowed)
        return ctx.shared[name][2]

    def marks(self, at) -> dict[str, Tensor]:
        """(batch, longest) bool by tag. Raises ConfigError where the call marks nothing by that name."""
        for tag in tags(self.pattern):
            if tag not in at.tags:
                raise ConfigError(
                    f"{self.path}: the rows marked {tag!r} are global here, and this call marks none: "
                    f"pass marks={{{tag!r}: a bool tensor like the tokens}}"
                )
        return {tag: at.grid(at.tags[tag]) for tag in tags(self.pattern)}
