"""Runs a compiled pattern (`sparse/program`): its tiles and single pairs, joined by their log-sum-exp, then the rows
that read everything in a small dense attention. A band needs no tables on a CPU: overlapping views (`ops/band`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from jorip.ops.attention import hidden
from jorip.ops.band import attend_band
from jorip.ops.block_sparse import picked, visible
from jorip.ops.few import attend_few, put_rows
from jorip.ops.fused import has_fused
from jorip.ops.scattered import attend_scattered
from jorip.ops.tiles import attend_tiles, merge
from jorip.parts.attention.sparse.program import Group, Program


def run(program: Program, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None, causal: bool, scale: float) -> Tensor:
    """(batch, heads, length, dim) -> the same. real (batch, length) bool: which rows exist, None = all."""
    batch, _, length, _ = q.shape
    if program.band is not None and has_fused(q, v):
        lengths = [length] * batch if real is None else real.sum(1).tolist()
        y = attend_band(q, k, v, lengths, program.band, scale)
    else:
        y = _in_tiles(program, q, k, v, real, scale)
    return y if program.whole is None else read_all(y, q, k, v, program.whole, real, causal, scale)


def _in_tiles(program: Program, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None, scale: float) -> Tensor:
    """The groups and the single pairs, joined."""
    batch, heads, length, _ = q.shape
    hubs = program.hubs if program.hubs is not None and program.hubs.shape[1] else None
    parts = []
    for g in program.groups:
        ql, kl, vl = (g.order.lay(x, g.rows) for x in (q, k, v))
        unseen = _unseen(g, real, hubs, length, q)
        if g.hubs and hubs is not None:
            kl, vl = (torch.cat([a, _columns(x, hubs, g.rows)], 2) for a, x in ((kl, k), (vl, v)))
        tiles = g.tiles._replace(
            table=_each(g.tiles.table, batch, heads),
            kind=None if g.tiles.kind is None else _each(g.tiles.kind, batch, heads),
        )
        if tiles.table.numel():
            unseen = None if unseen is None else unseen.expand(batch, -1).repeat_interleave(heads, 0)
            y, lse = attend_tiles(ql.flatten(0, 1), kl.flatten(0, 1), vl.flatten(0, 1), tiles, unseen, scale)
            parts.append((g.order.back(y, length), g.order.back(lse, length)))
    if program.scattered is not None:
        keys = _each(program.scattered, batch, heads)
        parts.append(attend_scattered(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), keys, scale))
    y = merge(parts) if parts else torch.zeros_like(v).flatten(0, 1)
    return y.unflatten(0, (batch, heads))


def _each(x: Tensor, batch: int, heads: int) -> Tensor:
    """(batch or 1, heads or 1, ...) -> (sequences or a divisor of them, ...)."""
    return x[0] if x.shape[0] == 1 else x.expand(batch, heads, *x.shape[2:]).flatten(0, 1)


def _unseen(g: Group, real: Tensor | None, hubs: Tensor | None, length: int, like: Tensor) -> Tensor | None:
    """(batch or 1, keys): -inf for what fills up, for holes, and for hubs in their own place: they are further keys."""
    place = g.order.places(length, g.rows, like.device)
    if real is None and hubs is None and bool((place < length).all()):
        return None
    there = torch.ones(1, length, dtype=torch.bool, device=like.device) if real is None else real
    if hubs is not None:
        hub = torch.zeros(hubs.shape[0], length + 1, dtype=torch.bool, device=like.device)
        there = there & ~hub.scatter_(1, hubs % (length + 1), True)[:, :length]
    there = torch.nn.functional.pad(there, (0, 1), value=False)[:, place.clamp(max=length)]
    if g.hubs and hubs is not None:
        is_hub = hubs >= 0
        if real is not None:
            is_hub = is_hub.expand(len(real), -1) & real.gather(1, hubs.clamp(min=0).expand(len(real), -1))
        is_hub = torch.nn.functional.pad(is_hub, (0, -hubs.shape[1] % g.rows), value=False)
        batch = max(len(there), len(is_hub))
        there = torch.cat([there.expand(batch, -1), is_hub.expand(batch, -1)], 1)
    return hidden(there, like.dtype)


def _columns(x: Tensor, hubs: Tensor, rows: int) -> Tensor:
    """(batch, heads, length, dim) -> (batch, heads, hubs filled up, dim)."""
    columns = picked(x, hubs.clamp(min=0).expand(x.shape[0], -1))
    return torch.nn.functional.pad(columns, (0, 0, 0, -columns.shape[2] % rows))


def read_all(y, q, k, v, hubs: Tensor, real, causal: bool, scale: float) -> Tensor:
    """y with the rows of the hubs, (batch or 1, count) int64, -1 = none, replaced by attention to everything."""
    if not hubs.shape[1]:
        return y
    hubs = hubs.expand(y.shape[0], -1)
    few = picked(q, hubs.clamp(min=0))
    if causal:
        seen = torch.arange(y.shape[2], device=q.device) <= hubs[..., None]
        z = visible(few, k, v, (seen if real is None else seen & real[:, None])[:, None], scale)
    else:
        z = attend_few(few, k, v, None if real is None else hidden(real, q.dtype), scale)
    return put_rows(y, hubs, z)
