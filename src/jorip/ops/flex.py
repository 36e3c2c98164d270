"""The tiles of `ops/tiles` on a GPU: one FlexAttention kernel (Dong et al. 2024, 2412.05496) over the same tables.

A block mask names the key blocks that every 128 queries read, and which of them they read in full; in the others the
kernel asks the tables, pair by pair. Forward and backward are torch's, compiled; memory is O(length).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

_BLOCK = 128  # queries and keys of a block: what FlexAttention's own choices of tiles divide
# How far apart both forms may be, of numbers up to 1.8: roundings (TF32 may be on); a wrong pair is off by far more
_AGREE = {torch.float32: 1e-2, torch.float16: 2e-2, torch.bfloat16: 0.1}

Form = Callable[..., tuple[Tensor, Tensor]]


def has_flex(q: Tensor, v: Tensor, tiles: int, block: int, reference: Form) -> bool:
    """Whether the kernel is there for these, and agrees with the reference (`ops/tiles`) on this device."""
    if q.device.type != "cuda" or q.dtype not in _AGREE or min(q.shape[2], v.shape[2]) < 16 or q.shape[1] < _BLOCK:
        return False
    fits = q.shape[1] == tiles * block and (_BLOCK % block == 0 or block % _BLOCK == 0)
    return fits and _agrees(q.device, q.dtype, reference)


def attend_flex(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: Tensor,
    block: int,
    hidden: Tensor | None,
    kind: Tensor | None,
    unseen: Tensor | None,
    scale: float,
    kernel: Callable[..., Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """As `ops/tiles.attend_tiles`, with the fields of its `Tiles`; the log-sum-exp of what sees nothing is -inf.

    kernel: another form of `flex_attention`, the compiled one by default."""
    from torch.nn.attention.flex_attention import AuxRequest, BlockMask

    slot, count = _slots(table, k.shape[1] // block)
    sees = _pairs(q.shape[1] // table.shape[1], block, slot, hidden, kind, unseen)
    some, free = _alike(slot >= 0, _open(slot, block, hidden, kind, unseen))
    if len(some) > 1:  # else one mask for all sequences
        some, free = (x.repeat(q.shape[0] // len(x), 1, 1) for x in (some, free))
    some, all_of = _coarse(some, block, torch.any), _coarse(some & free, block, torch.all)
    mask = BlockMask.from_kv_blocks(
        *_listed(some & ~all_of),
        *_listed(all_of),
        BLOCK_SIZE=_BLOCK,
        mask_mod=sees,
        seq_lengths=(q.shape[1], k.shape[1]),
    )
    again = None
    if bool((count > 1).any()):
        count = count.clamp(min=1).to(torch.promote_types(q.dtype, torch.float32))
        again = _repeats(count.log(), q.shape[1] // table.shape[1], block)
    y, more = (kernel or _compiled())(
        q[None], k[None], v[None], again, mask, scale, return_aux=AuxRequest(lse=True)
    )  # fmt: skip
    return y[0], more.lse[0]


def _slots(table: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
    """(sequences, tiles, blocks) int64: in which slot a block is, -1 = in none; and how often it is there."""
    at = torch.where(table < 0, blocks, table)
    which = torch.arange(table.shape[2], device=table.device).expand_as(table)
    slot = at.new_full((*table.shape[:2], blocks + 1), -1).scatter_(2, at, which)
    count = torch.zeros_like(slot).scatter_add_(2, at, torch.ones_like(at))
    return slot[..., :blocks], count[..., :blocks]


def _pairs(rows: int, block: int, slot: Tensor, hidden: Tensor | None, kind: Tensor | None, unseen: Tensor | None):
    """FlexAttention's question for one pair: the sequence (as a head), the query and the key."""
    open_ = None if hidden is None else hidden == 0
    real = None if unseen is None else unseen == 0

    def sees(_, s: Tensor, q: Tensor, k: Tensor) -> Tensor:
        tile, at = q // rows, slot[s % slot.shape[0], q // rows, k // block]
        seen = at >= 0
        if open_ is not None:
            which = torch.zeros_like(tile) if kind is None else kind[s % kind.shape[0], tile]
            seen = seen & open_[which, q % rows, at.clamp(min=0) * block + k % block]
        return seen if real is None else seen & real[s % real.shape[0], k]

    return sees


def _repeats(more: Tensor, rows: int, block: int):
    """A key that is there several times counts as often: its score is larger by (sequences, tiles, blocks)."""

    def add(score: Tensor, _, s: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return score + more[s % more.shape[0], q // rows, k // block]

    return add


def _open(slot: Tensor, block: int, hidden: Tensor | None, kind: Tensor | None, unseen: Tensor | None) -> Tensor:
    """(sequences, tiles, blocks) bool: where nothing of a block is hidden from a tile that has it."""
    found = torch.ones_like(slot, dtype=torch.bool)
    if hidden is not None and slot.shape[2]:
        free = (hidden == 0).unflatten(2, (-1, block)).all(3).all(1)  # (kinds, slots)
        of = free[torch.zeros_like(slot[:, :, 0]) if kind is None else kind]
        of, at = _alike(of, slot.clamp(min=0))
        found = of.gather(2, at)
    if unseen is not None:
        found, there = _alike(found, (unseen == 0).unflatten(1, (-1, block)).all(2)[:, None])
        found = found & there
    return found


def _alike(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both for as many sequences: what there is for fewer repeats."""
    n = max(len(a), len(b))
    return a.repeat(n // len(a), 1, 1), b.repeat(n // len(b), 1, 1)


def _coarse(x: Tensor, block: int, join: Callable[..., Tensor]) -> Tensor:
    """(sequences, tiles, blocks) -> the same of blocks of 128."""
    for dim in (1, 2):
        if block >= _BLOCK:
            x = x.repeat_interleave(block // _BLOCK, dim)
            continue
        each, missing = _BLOCK // block, -x.shape[dim] % (_BLOCK // block)
        filled = x.new_full((*x.shape[:dim], missing, *x.shape[dim + 1 :]), join is torch.all)  # are never asked about
        x = join(torch.cat([x, filled], dim).unflatten(dim, (-1, each)), dim + 1)
    return x


def _listed(x: Tensor) -> tuple[Tensor, Tensor]:
    """(sequences, query blocks, key blocks) bool -> how many each has, and which they are, those first."""
    order = x.to(torch.int8).argsort(dim=2, descending=True, stable=True)
    return x.sum(2, dtype=torch.int32)[None], order.to(torch.int32)[None]


@lru_cache(1)
def _compiled() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


@lru_cache(16)
def _agrees(device: torch.device, dtype: torch.dtype, reference: Form) -> bool:
    """A small case, forward and backward, by both; where they differ or the kernel cannot be compiled, says so once."""
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            far = max(float((a - b).abs().max()) for a, b in zip(*_both(device, dtype, reference)))
        why = "" if far <= _AGREE[dtype] else f"differs from the reference by {far:.2g}"
    except Exception as e:  # what a compiler raises is its own affair
        why = f"could not run: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"
    if why:
        warnings.warn(
            f"ops/flex: FlexAttention for {dtype} on {device} {why}; sparse attention computes the same pairs "
            "by batched products instead, which is slower",
            stacklevel=2,
        )
    return not why


def _both(device: torch.device, dtype: torch.dtype, reference: Form) -> tuple[list[Tensor], list[Tensor]]:
    """Answers and gradients of both, in float32: four sequences, tiles of 64 with hidden pairs and absent keys."""
    draw = torch.Generator().manual_seed(0)
    q, k, v, w = (torch.randn(4, 256, 64, generator=draw).to(device, dtype) for _ in range(4))
    table = torch.tensor([[[0, -1], [0, 1], [1, 2], [2, 3]]], device=device)
    hidden = torch.zeros(2, 64, 128, device=device)
    hidden[1, :, :64] = torch.full((64, 64), float("-inf")).triu(1)
    kind = torch.tensor([[0, 1, 0, 1]], device=device)
    unseen = torch.zeros(4, 256, device=device)
    unseen[1, 100:] = float("-inf")
    found = []
    for form in (partial(attend_flex, block=64), partial(reference, block=64)):
        x = [i.detach().requires_grad_() for i in (q, k, v)]
        y, lse = form(*x, table=table, hidden=hidden, kind=kind, unseen=unseen, scale=0.125)
        seen = lse > -1e20
        loss = (y * w).sum() + lse.masked_fill(~seen, 0).sum()
        found.append([i.float() for i in (y.detach(), *torch.autograd.grad(loss, x))])
    return found[0], found[1]
