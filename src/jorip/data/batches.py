"""Which examples make which batch: pure functions, so that a run can be resumed, split and repeated anywhere."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from jorip.core.random import mix_ints


def plan_batches(
    sizes: Tensor | Sequence[int],
    tokens: int,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    max_examples: int | None = None,
    bucket: int = 32,
) -> list[list[int]]:
    """Batches of example numbers, each example once, sizes in a batch summing to at most `tokens`.

    sizes (examples,): tokens of each example. One larger than `tokens` is a batch of its own. `bucket`: examples are
    sorted by length within windows of about so many batches, so that a batch holds similar lengths (little padding
    where something must pad) while batches still differ from epoch to epoch; 0 sorts nothing. Without `shuffle` the
    order is by length (or with bucket 0 as in the file), the same in every epoch: for evaluation.
    """
    sizes = torch.as_tensor(sizes, dtype=torch.int64)
    n = len(sizes)
    if n == 0:
        return []
    generator = torch.Generator().manual_seed(mix_ints(seed, epoch, 0xBA7C4))
    order = torch.randperm(n, generator=generator) if shuffle else torch.arange(n)
    if bucket:
        order = _by_length(order, sizes, tokens * bucket if shuffle else None)
    bounds = _cut(sizes[order], tokens, max_examples)
    ids = order.tolist()
    batches = [ids[a:b] for a, b in pairwise(bounds)]
    if shuffle:
        batches = [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
    return batches


def _by_length(order: Tensor, sizes: Tensor, window: int | None) -> Tensor:
    """Sorts by size within runs of about `window` tokens (None: one run); every second run falls, so that lengths meet
    where two runs touch."""
    size = sizes[order]
    run = torch.zeros_like(size) if window is None else (size.cumsum(0) - size) // window
    key = torch.where(run % 2 == 1, -size, size)
    inner = key.sort(stable=True).indices
    return order[inner[run[inner].sort(stable=True).indices]]


def _cut(sizes: Tensor, tokens: int, max_examples: int | None) -> list[int]:
    """Bounds of greedy batches over sizes in this order: [0, ..., n]."""
    n = len(sizes)
    total = sizes.cumsum(0)
    bounds, done = [0], 0
    while (start := bounds[-1]) < n:
        stop = int(torch.searchsorted(total, done + tokens, right=True))
        stop = max(stop, start + 1)
        if max_examples is not None:
            stop = min(stop, start + max_examples)
        bounds.append(stop)
        done = int(total[stop - 1])
    return bounds


def split_micro(ids: Sequence[int], sizes: Tensor | Sequence[int], micro_tokens: int) -> list[list[int]]:
    """The batch in parts of at most `micro_tokens`, in order; a larger example is a part of its own."""
    ids = list(ids)
    if not ids:
        return []
    bounds = _cut(torch.as_tensor(sizes, dtype=torch.int64)[torch.tensor(ids)], micro_tokens, None)
    return [ids[a:b] for a, b in pairwise(bounds)]


def share(ids: Sequence[int], sizes: Tensor | Sequence[int], rank: int, world: int) -> list[int]:
    """What process `rank` of `world` computes. All shares together are exactly `ids`, in order, about equally large.

    Dealt from the largest down, back and forth; empty when there are fewer examples than processes.
    """
    if world == 1:
        return list(ids)
    mine = torch.as_tensor(sizes, dtype=torch.int64)[torch.as_tensor(list(ids), dtype=torch.int64)]
    owner = torch.empty(len(mine), dtype=torch.int64)
    place = torch.arange(len(mine))
    turn, seat = place // world, place % world
    owner[(-mine).sort(stable=True).indices] = torch.where(turn % 2 == 0, seat, world - 1 - seat)
    return [i for i, r in zip(ids, owner.tolist()) if r == rank]
