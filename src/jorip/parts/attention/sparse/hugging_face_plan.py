"""The blocks that transformers' BigBird reads, which differ from the paper's: what its checkpoints are run with.

Evaluation: every random block is block 0, which therefore counts 1 + random times in the softmax. Training: drawn by
numpy from the layer's number, mostly among the first 2 random + 5 blocks; at 1024, 3072 and 4096 rows from another
rule, for the longest length, that also draws blocks which the window or the end read already. Too short inputs
(at most 2 random + 5 blocks) are attended in full.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jorip.core.errors import ConfigError
from jorip.core.kept import kept
from jorip.parts.attention.sparse.block_plan import Pattern, Plan

_LONG = (1024, 3072, 4096)
_REACH = 1024  # where those lengths' rule stops drawing
_PATTERN = Pattern(first=1, last=1, window=3)


def shortest(random: int) -> int:
    """Blocks up to which an input is attended in full."""
    return 2 * random + 5


def plan(n: Tensor, blocks: int, heads: int, block: int, random: int, seed: int | None, max_len: int) -> Plan:
    """n (batch,) int64: blocks of each sequence; blocks: the most; block: rows of one; seed: the layer's number in
    training, None in evaluation; max_len: the model's. Raises ConfigError where transformers fails, too."""
    parts = [_one(size, blocks, heads, block, random, seed, max_len) for size in n.tolist() or [0]]
    return Plan(torch.stack([p.keys for p in parts]).to(n.device), torch.stack([p.whole for p in parts]).to(n.device))


@kept(64)
def _one(n: int, blocks: int, heads: int, block: int, random: int, seed: int | None, max_len: int) -> Plan:
    if n <= shortest(random):
        keys = torch.full((heads, blocks, _PATTERN.slots + random), -1)
        return Plan(keys, torch.arange(blocks) < n)
    base, ending = _PATTERN.base(torch.tensor([n]), blocks)
    more = torch.zeros(heads, blocks, random, dtype=torch.int64)
    if seed is not None:
        rows = drawn(n, heads, block, random, seed, max_len)
        more[:, 1 : n - 1] = torch.from_numpy(rows)
    keys = torch.cat([base.expand(heads, -1, -1), more], -1).masked_fill(ending[0, :, None], -1)
    return Plan(keys, ending[0] & (torch.arange(blocks) < n))


def drawn(n: int, heads: int, block: int, random: int, seed: int, max_len: int) -> np.ndarray:
    """(heads, n - 2, random) int64: the random blocks of query blocks 1 to n - 2 in training."""
    rng = np.random.RandomState(seed)
    try:
        if n * block in _LONG:
            if max_len < n * block:
                raise ValueError
            return np.stack([_for_long(rng, max_len // block, block, random)[: n - 2] for _ in range(heads)])
        return _among_first(rng, n, heads, random)
    except ValueError:
        raise ConfigError(
            f"big_bird: transformers has no rule to draw {random} random blocks in training from {n} blocks of {block} "
            f"with max_len={max_len}: take another length, smaller blocks, or plan='paper'"
        ) from None


def _among_first(rng: np.random.RandomState, n: int, heads: int, random: int) -> np.ndarray:
    """Drawn from the first 2 random + 5 blocks, without those that the window reads, the two at its ends, and the one
    that would come to lie beside the window in a circle."""
    end = shortest(random)
    found = np.zeros((heads, n - 2, random), dtype=np.int64)
    for i in range(1, n - 1) if random else ():
        never = {i - 1, i, i + 1, 0, end - 1}
        never |= {end - 2} if i == 1 else set()
        never |= {1} if i == end - 2 else set()
        for head in range(heads):
            order = rng.permutation(np.arange(end, dtype=np.int32))
            found[head, i - 1] = [b for b in order if b not in never][:random]
    return found


def _for_long(rng: np.random.RandomState, n: int, block: int, random: int) -> np.ndarray:
    """For the n blocks of the longest length: drawn from the first 1024 rows."""
    found = np.zeros((n - 2, random), dtype=np.int64)
    middle = np.arange(1, n - 1, dtype=np.int32)
    last = _REACH // block - 1 if 2 * block < _REACH else n - 1
    for i in range(1, n - 1):
        start = i - 2
        if i <= 2:
            among = middle[i + 1 : last]
        elif i >= n - 3 or start > last:
            among = middle[:last]
        elif i + 1 == last:
            among = middle[:start]
        else:
            among = np.concatenate((middle[:start], middle[i + 1 : last]))
        found[i - 1] = rng.permutation(among)[:random]
    return found
