"""What attention that folds costs: products, and memory by the conventions of docs/cost.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from jorip.core.cost import Cost, Shape
from jorip.core.site import Site
from jorip.ops.head_norm import CACHED as FINISHED
from jorip.ops.linear_attention_steps import SHORT, Channels, Chunk, Decayed, Delta, Sum
from jorip.ops.linear_attention_whole import CACHED


class Tables(NamedTuple):
    """Pairs of one chunk that are alive at once, forwards and backwards: of queries with keys, for each head, and of
    keys with keys, for each key head. Measured: tests/parts/attention/linear/test_costs."""

    forth: float = 0
    back: float = 0
    forth_keys: float = 0
    back_keys: float = 0

    def alive(self, pairs: int, heads: int, key_heads: int) -> tuple[float, float]:
        """Elements forwards and backwards."""
        forth, back = heads * self.forth + key_heads * self.forth_keys, heads * self.back + key_heads * self.back_keys
        return pairs * forth, pairs * back


TABLES: dict[type[Chunk], Tables] = {
    Sum: Tables(1, 1.6),
    Decayed: Tables(2, 3.2, 0.4, 0.4),
    Delta: Tables(1, 2, 3, 2.4),
    Channels: Tables(1),
}
_FIXED = Tables(2, 1.2, 0.4, 0.4)  # of decays that are not learnt
_FADED = Tables(2, 5, 3.4, 4.4)  # of a delta rule that has decays, too


@dataclass(frozen=True)
class MadeOf:
    """size, dim: of the state of one key head; feature_macs: for one row and head, entry_macs for one row; entries:
    what the rule keeps for one row and key head; copies of queries and keys that the map keeps, spare ones of features
    while it works; finishes: gradients that a finish makes, of outputs and their gates, 0 = it has none."""

    size: int
    dim: int
    chunk: int
    step: Chunk
    feature_macs: int = 0
    entry_macs: int = 0
    entries: int = 0
    copies: int = 0
    spare: int = 0
    finishes: int = 0


def one_sum(site: Site, shape: Shape, m: MadeOf) -> Cost:
    """Where everything is seen: the sum is made once, and each query reads it."""
    heads, longest = site.n_heads, max(shape.length, shape.memory if site.cross else 0)
    queries, keys = shape.rows * heads, shape.batch * (shape.memory if site.cross else shape.length) * site.n_kv_heads
    outs, read = queries * site.head_dim, keys * site.head_dim
    state = shape.batch * site.n_kv_heads * m.size * m.dim
    rows = max(64, CACHED // max(shape.batch * heads * m.size, 1))
    at_once = shape.batch * heads * min(rows, longest)
    features = at_once * m.size
    later = min(max(longest - rows, 0) / rows, 1)  # the last stretch's features live until the next ones are made
    copies = 1 + m.spare + later * (1 + m.spare / 2)
    return Cost(
        linear=(queries + keys) * m.feature_macs,
        mixing=m.size * m.dim * (queries + keys),
        activations=outs + queries + state + m.copies * (outs + read),
        path=1,
        sequential=1,
        work=int(outs + queries + state + copies * features + 2 * at_once * m.dim),
        back=2 * read + 3 * state + (3 + 2 * m.spare) * features + at_once * m.dim,
    )


def chunks(site: Site, shape: Shape, m: MadeOf) -> Cost:
    """Where only the past is seen, or order matters: then twice, once from each end."""
    ways, length = 1 if site.causal else 2, shape.length
    queries, keys = shape.rows * site.n_heads, shape.rows * site.n_kv_heads
    outs, read = queries * site.head_dim, keys * site.head_dim
    rows = min(m.chunk, SHORT) if isinstance(m.step, Channels) else m.chunk
    whole, rest = divmod(length, rows)
    pairs = shape.batch * (whole * rows**2 + rest**2)
    mixing = pairs * site.n_heads * (m.size + m.dim) + m.size * m.dim * (queries + keys)
    if isinstance(m.step, Delta):
        mixing += site.n_kv_heads * (pairs * m.size + shape.rows * m.size * m.dim)
    state = shape.batch * site.n_kv_heads * m.size * m.dim
    count, entries = -(-length // m.chunk), keys * m.entries
    made = entries + m.copies * (outs + read)
    flipped = (outs + 2 * read + keys * (m.size if isinstance(m.step, Channels) else 1)) * (ways - 1)
    some = shape.batch * min(m.chunk, length)
    vectors = some * (site.n_heads * ((1 + m.spare) * m.size + 2 * m.dim) + site.n_kv_heads * (m.size + m.dim))
    tables = TABLES[type(m.step)]
    if isinstance(m.step, Delta) and m.entries > 1:
        tables = _FADED
    elif isinstance(m.step, Decayed) and m.entries == 1:
        tables = _FIXED
    forth, back = tables.alive(some * min(rows, length), site.n_heads, site.n_kv_heads)
    finished, few = outs * (m.finishes > 0), min(outs, FINISHED) * (m.finishes > 0)
    folding = made + flipped + outs * ways + 2 * state + vectors + forth
    unfolding = (ways - 1) * outs - finished + 2 * read + entries + 3 * (state + vectors) + back
    return Cost(
        linear=ways * (queries + keys) * m.feature_macs + shape.rows * m.entry_macs,
        mixing=ways * mixing,
        activations=outs + made + flipped + finished + ways * count * state,
        path=1,
        sequential=count,
        work=int(max(folding, outs + finished + (1 + m.finishes) * few)),
        back=int(max(unfolding, m.finishes * outs + (5 * m.finishes - 4) * few)),
    )
