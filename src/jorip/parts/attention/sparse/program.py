"""What a sparse pattern becomes before it is run (`sparse/run`): tiles, found without looking at pairs (`ops/tiles`).

Members of a union that are dense near the diagonal in the same order of the rows share tiles and one softmax; other
orders (residue classes) and single edges are further parts; a pair is counted once. Hubs are gathered as further key
blocks, and read everything themselves. One band, alone or with hubs at the start, has a form of its own (`ops/band`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jorip.core.random import mix_ints
from jorip.ops.attention import hidden
from jorip.ops.band import Band
from jorip.ops.tiles import Tiles
from jorip.parts.attention.costs import Tiled
from jorip.parts.attention.patterns.band import Band as Near
from jorip.parts.attention.patterns.base import Order, Pairs, Pattern, Stretch, Tile
from jorip.parts.attention.patterns.global_ import Global

_NONE = 2**40  # beyond every block
_AT_ONCE = 2**14  # pairs of which `seen` is found together
_FEW = 512  # queries whose single edges are found together


@dataclass(frozen=True)
class Situation:
    """What a program is made for: n (batch or 1,) int64 lengths; longest rows; heads; causal; seed; marks: bool (batch,
    longest) by tag."""

    n: Tensor
    longest: int
    heads: int
    causal: bool
    seed: int
    marks: dict[str, Tensor]

    @property
    def head(self) -> Tensor:
        return torch.arange(self.heads, device=self.n.device)

    def tile(self, first: Tensor, last: Tensor, start: Tensor, stop: Tensor) -> Tile:
        return Tile(first, last, self.n[:, None, None], start, stop, self.head[:, None], self.causal, self.seed)

    def pairs(self, q: Tensor, k: Tensor) -> Pairs:
        """Of queries (tiles, rows) and keys (batch, heads, tiles, width)."""
        head = self.head[:, None, None, None]
        return Pairs(q[..., None], k[..., None, :], self.n[:, None, None, None, None], head, self.causal, self.seed)


@dataclass(frozen=True)
class Group:
    """Tiles of `rows` queries in one order of the rows; hubs: whether the hubs' blocks follow the rows' own."""

    order: Order
    rows: int
    tiles: Tiles
    hubs: bool

    @property
    def pairs(self) -> int:
        _, _, tiles, slots = self.tiles.table.shape
        return tiles * self.rows * slots * self.tiles.block


@dataclass(frozen=True)
class Program:
    """hubs (batch or 1, count) int64: rows that all read, -1 = none; whole: the same of rows that read all; scattered
    (batch, heads, rows, count): keys of single queries. band: what `groups` say, where it has this form."""

    groups: tuple[Group, ...]
    hubs: Tensor | None
    whole: Tensor | None
    scattered: Tensor | None
    band: Band | None = None

    def pairs(self, length: int) -> int:
        """Of each sequence and head, that are computed."""
        whole = 0 if self.whole is None else self.whole.shape[1] * length
        own = sum(g.pairs for g in self.groups) if self.band is None else self.band.pairs(length)
        return whole + own + self.edges * length

    def parts(self, length: int) -> tuple[list[Tiled], int]:
        """What costs need to know; and rows that read everything."""
        hubs, whole = (0 if x is None else x.shape[1] for x in (self.hubs, self.whole))
        if self.band is not None:
            return [Tiled(self.band.pairs(length), length, views=True)], whole
        parts = [
            Tiled(
                g.pairs,
                slots=g.tiles.table.shape[2] * g.rows,
                hubs=-(-hubs // g.rows) * g.rows if g.hubs else 0,
                moved=g.order.gap > 1,
                rows=g.rows,
            )
            for g in self.groups
        ]
        parts += [Tiled(self.edges * length, length, single=True)] if self.scattered is not None else []
        return parts, whole

    @property
    def edges(self) -> int:
        return 0 if self.scattered is None else self.scattered.shape[-1]


def seen(pattern: Pattern, s: Situation, q: Tensor, k: Tensor, q_marks=None, k_marks=None) -> Tensor:
    """The definition: (batch or 1, heads or 1, queries, keys) bool; q and k (batch or 1, queries or keys) int64 places;
    marks (batch, queries or keys) bool by tag. Another pattern for each group of heads numbers its heads from 0.

    A few queries at a time: what patterns reckon with takes many times the memory of the answer."""
    few, marks = max(1, _AT_ONCE // max(k.shape[1], 1)), q_marks or {}
    each = [slice(i, i + few) for i in range(0, max(q.shape[1], 1), few)]
    found = [_seen(pattern, s, q[:, i], k, {t: m[:, i] for t, m in marks.items()}, k_marks or {}) for i in each]
    return found[0] if len(found) == 1 else torch.cat(found, 2)


def _seen(pattern: Pattern, s: Situation, q: Tensor, k: Tensor, q_marks: dict, k_marks: dict) -> Tensor:
    groups, edges = pattern.groups, (q.shape[1], k.shape[1])
    heads = s.heads // len(groups)
    head = torch.arange(heads, device=q.device)[:, None, None]
    sides = ({t: m[:, None, :, None] for t, m in q_marks.items()},
             {t: m[:, None, None, :] for t, m in k_marks.items()})  # fmt: skip
    found = []
    for i, p in enumerate(groups):
        pairs = Pairs(q[:, None, :, None], k[:, None, None, :], s.n[:, None, None, None], head, s.causal,
                      group_seed(s.seed, i), *sides)  # fmt: skip
        one = p.allow(pairs)
        found.append(one.expand(torch.broadcast_shapes(one.shape, (1, 1, *edges))))
    if len(found) == 1:
        return found[0]
    (batch,) = torch.broadcast_shapes(*(f.shape[:1] for f in found))
    return torch.cat([f.expand(batch, heads, *edges) for f in found], 1)


def group_seed(seed: int, group: int) -> int:
    """Of a group of heads, whose heads are numbered from 0."""
    return seed ^ mix_ints(group) if group else seed


def compile(pattern: Pattern, s: Situation, rows: int, masks: bool = True) -> Program:
    """masks: with what tiles hide of their blocks; without it only the size is right, which is all that costs need."""
    members = pattern.members_of_union
    hubs = hub_rows(members, s)
    by_order: dict[Order, list[Pattern]] = {}
    for m in members:
        if not isinstance(m.hubs(s.n[:1], s.n[:1], _Unmarked()), Tensor) and m.scatter(_single(s, 0, 0)) is None:
            by_order.setdefault(m.order, []).append(m)
    if hubs is not None and Order() not in by_order:
        by_order = {Order(): [], **by_order}
    orders = sorted(by_order)
    groups, earlier = [], []
    for order in orders:
        own = by_order[order]
        fits = rows if order.gap == 1 else _divided(-(-s.longest // order.gap), rows)
        groups.append(_group(order, own, earlier, s, fits, hubs if not groups else None, masks))
        earlier = [*earlier, *own]
    whole = hub_rows(tuple(m for m in members if m.hubs_read_all), s)
    return Program(tuple(groups), hubs, whole, _scattered(members, earlier, s), _band(members, s.causal))


def _band(members: tuple[Pattern, ...], causal: bool) -> Band | None:
    """One band, and hubs at the start only."""
    bands = [m for m in members if isinstance(m, Near)]
    hubs = [m for m in members if isinstance(m, Global) and not (m.tag or m.last)]
    if len(bands) != 1 or len(bands) + len(hubs) < len(members):
        return None
    return Band(bands[0].left, 0 if causal else bands[0].right, max((h.first for h in hubs), default=0), causal)


class _Unmarked(dict):
    """Marks of nobody, to ask a pattern whether it has hubs at all."""

    def __missing__(self, name: str) -> Tensor:
        return torch.zeros(1, dtype=torch.bool)


def _single(s: Situation, first: int, end: int) -> Tile:
    """Every row from `first` up to `end` as a tile of its own."""
    place = torch.arange(first, end, device=s.n.device)
    return s.tile(place, place, torch.zeros_like(place), torch.full_like(place, s.longest))


def _divided(length: int, rows: int) -> int:
    """The rows of a tile, at most `rows` or so, that leave the least over in a class of this length."""
    return -(-length // max(1, round(length / rows)))


def hub_rows(members: tuple[Pattern, ...], s: Situation) -> Tensor | None:
    """(batch or 1, count) int64: the rows that everybody reads, -1 = none; None where no member has any."""
    place = torch.arange(s.longest, device=s.n.device)
    found = [h for m in members if (h := m.hubs(place, s.n[:, None], s.marks)) is not None]
    if not found:
        return None
    hub = torch.zeros(1, 1, dtype=torch.bool, device=place.device)
    for h in found:
        hub = hub | h
    hub = hub & (place < s.n[:, None])
    most = int(hub.sum(1).max()) if hub.numel() else 0
    first = hub.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return first.masked_fill(~hub.gather(1, first), -1)


def _group(order, own: list[Pattern], earlier: list[Pattern], s: Situation, rows: int, hubs, masks: bool) -> Group:
    each = order.each(s.longest, rows)
    blocks = each * order.gap // rows
    first = torch.arange(blocks, device=s.n.device) * rows
    start = first // max(each, 1) * each
    tile = s.tile(first, first + rows - 1, start, start + each)
    table = _table([r for m in own for r in m.reach(tile)], tile, rows)
    places = order.places(s.longest, rows, s.n.device).expand(s.n.shape[0], -1)
    if hubs is not None:
        extra = -(-hubs.shape[1] // rows)
        columns = torch.arange(extra, device=table.device) + blocks
        table = torch.cat([table, columns.expand(*table.shape[:3], extra)], -1)
        filled = torch.nn.functional.pad(hubs, (0, extra * rows - hubs.shape[1]), value=-1)
        places = torch.cat([places.expand(hubs.shape[0], -1), filled], 1)
    exact = not s.causal and not earlier and all(m.exact(rows) for m in own)
    if exact or not masks or not table.numel():
        return Group(order, rows, Tiles(table, rows), hubs is not None)
    q = places[0, : blocks * rows].view(blocks, rows)
    of = torch.arange(places.shape[0], device=q.device).view(-1, 1, 1, 1)
    k = places.view(places.shape[0], -1, rows)[of, table.clamp(min=0)].flatten(3)
    pairs = s.pairs(q, k)
    hub = (table >= blocks).repeat_interleave(rows, -1)[..., None, :]
    seen = hub
    for m in own:
        seen = seen | m.allow(pairs)
    for m in earlier:
        seen = seen & (hub | ~m.allow(pairs))
    if s.causal:
        seen = seen & (pairs.k <= pairs.q)
    seen = seen.expand(torch.broadcast_shapes(seen.shape, (*k.shape[:3], rows, k.shape[3])))
    kinds, kind = _alike(seen.flatten(0, 2))
    return Group(order, rows, Tiles(table, rows, hidden(kinds), kind.view(seen.shape[:3])), hubs is not None)


def _table(stretches: list[Stretch], t: Tile, block: int) -> Tensor:
    """(batch, heads, tiles, slots): the distinct blocks in these stretches, -1 = none."""
    found = []
    for start, stop in stretches:
        stop = stop.minimum(t.last + 1) if t.causal else stop
        low, high = start.maximum(t.start) // block, (stop.minimum(t.stop) - 1) // block
        most = int((high - low).max()) + 1 if low.numel() else 0
        ids = low[..., None] + torch.arange(max(most, 0), device=low.device)
        found.append(ids.masked_fill(ids > high[..., None], _NONE))
    if not found:
        return torch.zeros(1, 1, len(t.first), 0, dtype=torch.int64, device=t.first.device)
    found = [f.expand((1,) * (4 - f.dim()) + f.shape) if f.dim() < 4 else f for f in found]
    batch, heads = (max(f.shape[i] for f in found) for i in (0, 1))
    ids = torch.cat([f.expand(batch, heads, *f.shape[2:]) for f in found], -1).sort(-1).values
    again = torch.zeros_like(ids, dtype=torch.bool)
    again[..., 1:] = ids[..., 1:] == ids[..., :-1]
    ids = ids.masked_fill(again, _NONE).sort(-1).values
    used = int((ids != _NONE).sum(-1).max()) if ids.numel() else 0
    ids = ids[..., :used]
    return ids.masked_fill(ids == _NONE, -1)


def _alike(seen: Tensor) -> tuple[Tensor, Tensor]:
    """(tiles, rows, width) bool -> the distinct ones, and which one each tile is."""
    flat = seen.flatten(1)
    packed = torch.nn.functional.pad(flat.view(torch.uint8), (0, -flat.shape[1] % 8)).contiguous().view(torch.int64)
    _, kind, count = packed.unique(dim=0, return_inverse=True, return_counts=True)
    first = torch.zeros_like(count).scatter_(0, kind.flip(0), torch.arange(len(kind) - 1, -1, -1, device=kind.device))
    return seen[first], kind


def _scattered(members: tuple[Pattern, ...], earlier: list[Pattern], s: Situation) -> Tensor | None:
    """A few queries at a time: what is reckoned with takes several times the memory of the answer."""
    found = []
    for first in range(0, max(s.longest, 1), _FEW):
        drawn = [d for m in members if (d := m.scatter(_single(s, first, min(first + _FEW, s.longest)))) is not None]
        if not drawn:
            return None
        keys, _ = torch.cat(drawn, -1).expand(-1, s.heads, -1, -1).sort(-1)
        found.append(_edges(keys, first, members, earlier, s))
    return torch.cat(found, 2)


def _edges(keys: Tensor, first: int, members: tuple[Pattern, ...], earlier: list[Pattern], s: Situation) -> Tensor:
    """Sorted keys of the queries from `first` on, -1 for those which other parts hold, or which may not be seen."""
    place = torch.arange(first, first + keys.shape[2], device=keys.device)[:, None]
    gone = torch.zeros_like(keys, dtype=torch.bool)
    gone[..., 1:] = keys[..., 1:] == keys[..., :-1]
    gone |= keys >= s.n[:, None, None, None]
    n, head = s.n[:, None, None, None], s.head[:, None, None]
    for m in earlier:
        gone |= m.allow(Pairs(place, keys, n, head, s.causal, s.seed))
    for m in members:
        h = m.hubs(keys, n, {t: x.gather(1, keys.flatten(1)).view(keys.shape) for t, x in s.marks.items()})
        gone |= False if h is None else h
    return keys.masked_fill(gone | (keys > place if s.causal else False), -1)
