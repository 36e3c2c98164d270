"""Sampling: temperature, the k likeliest (Fan et al. 2018, 1805.04833), the nucleus (Holtzman et al. 2020, 1904.09751).

The random number of a draw is a hash of (seed, prompt, how many earlier rows of the batch have the same prompt, step):
it does not depend on the other rows, on padding or on when they end. A batch therefore gives what its rows give one by
one, and n copies of a prompt give n different samples.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

import torch
from torch import Tensor

from jorip.core.layout import Packed
from jorip.core.random import mix_ints, row_keys, uniform_bits
from jorip.inference.largest import largest
from jorip.inference.options import Options


class Sample:
    """Draws one id per row. Order: temperature, then top_k, then top_p of what is left."""

    def __init__(self, options: Options, given: Packed):
        self.temperature = 1.0 if options.temperature is None else options.temperature
        self.top_k, self.top_p, self.number = options.top_k, options.top_p, mix_ints(options.key_seed)
        self.uid = names(given)

    def __call__(self, scores: Tensor, rows: Tensor, step: int) -> Tensor:
        u = uniform(self.uid[rows.cpu()], step, self.number).to(scores.device)
        if self.top_k is None and self.top_p is None:
            return draw(self.softmax(scores), u)
        best, ids = largest(scores, self.top_k or scores.shape[1])
        p = self.softmax(best)
        if self.top_p is not None:
            before = p.cumsum(1) - p
            p = p.masked_fill(before >= self.top_p, 0)  # the likeliest always stays: nothing is before it
        return ids.gather(1, draw(p, u)[:, None])[:, 0]

    def softmax(self, scores: Tensor) -> Tensor:
        top = scores.amax(1, keepdim=True)  # first, so that a tiny temperature does not overflow
        return ((scores - top).double() / self.temperature).softmax(1)


def draw(p: Tensor, u: Tensor) -> Tensor:
    """Inverts the cumulative distribution: p (rows, n) float64, u (rows,) in [0, 1) -> (rows,); never where p is 0."""
    total = p.cumsum(1)
    whole = total[:, -1:]
    aim = torch.minimum(u[:, None] * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    return torch.searchsorted(total, aim, right=True)[:, 0]


def uniform(uid: Tensor, step: int, number: int) -> Tensor:
    """(rows,) float64 in [0, 1) with 53 random bits."""
    bits = uniform_bits(row_keys(uid, torch.full_like(uid, step)), 2, number).to(torch.int64) & 0xFFFFFFFF
    return (bits[:, 0] * 2**21 + (bits[:, 1] >> 11)).double() / 2**53


def names(given: Packed) -> Tensor:
    """(batch,) int64: a hash of each row's tokens and of how many rows before it have the same."""
    seen: Counter[bytes] = Counter()
    hashes = []
    for tokens in given.split():
        raw = tokens.cpu().numpy().astype("<i8").tobytes()
        digest = blake2b(raw + b"#%d" % seen[raw], digest_size=8).digest()
        seen[raw] += 1
        hashes.append(int.from_bytes(digest, "little", signed=True))
    return torch.tensor(hashes, dtype=torch.int64)
