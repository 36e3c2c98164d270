"""Random numbers as a pure function of (seed, step, place, sample, position, column).

A dropout mask must not depend on how a batch is cut into micro-batches, processes, padding or recomputation. So it
is a hash, not a stream: nothing is stored, nothing is consumed. The mixer is a two-round multiply-xorshift on int32,
which torch vectorises and which costs less than the Bernoulli generator of `F.dropout` on a CPU.
"""

import zlib
from typing import NamedTuple

import torch
from torch import Tensor

_M1, _M2, _M3 = 0x2C1B3C6D, 0x297A2D39, 0x1B873593  # odd multipliers with good avalanche, below 2^31


class Key(NamedTuple):
    """What all random draws of one optimizer step share."""

    seed: int
    step: int

    @staticmethod
    def fresh() -> "Key":
        """A key drawn from torch's global generator, for a model that is called in training mode without one."""
        return Key(int(torch.randint(2**31 - 1, ())), 0)


def salt(path: str) -> int:
    """A stable 31-bit number for a place in the model."""
    return zlib.crc32(path.encode()) & 0x7FFFFFFF


def _signed(x: int) -> int:
    x &= 0xFFFFFFFF
    return x - 2**32 if x >= 2**31 else x


def mix_ints(*values: int) -> int:
    """A 31-bit hash of a few Python integers."""
    h = 0x811C9DC5
    for v in values:
        for part in (v & 0xFFFFFFFF, (v >> 32) & 0xFFFFFFFF):
            h = ((h ^ part) * _M1) & 0xFFFFFFFF
            h = ((h ^ (h >> 15)) * _M2) & 0xFFFFFFFF
            h ^= h >> 13
    return h & 0x7FFFFFFF


def mix(x: Tensor, number: int) -> Tensor:
    """Hashes int32 `x` with a Python integer; same shape."""
    h = (x ^ _signed(number)) * _M1
    h = _fold(h, 15) * _M2
    return _fold(h, 13)


def _fold(h: Tensor, shift: int) -> Tensor:
    """h ^ (h >>> shift), in place. torch shifts arithmetically; without the mask the sign bit would cancel itself."""
    h ^= (h >> shift).bitwise_and_((1 << (32 - shift)) - 1)
    return h


def row_keys(uid: Tensor, position: Tensor) -> Tensor:
    """One int32 per row from the sample's uid and the position in it; both (rows,) int64."""
    low = mix(uid.to(torch.int32), 0x9E3779B)
    high = mix((uid >> 32).to(torch.int32), 0x85EBCA6)
    return mix(low ^ high ^ (position.to(torch.int32) * _M3), 0xC2B2AE3)


def uniform_bits(keys: Tensor, columns: int, number: int) -> Tensor:
    """(*, columns) int32, uniform over all int32, one draw for each key (*,) and column."""
    rows = mix(keys, number)
    cols = mix(torch.arange(columns, dtype=torch.int32, device=keys.device), number ^ 0x5BD1E99)
    h = rows[..., None] ^ cols
    h *= _M1
    h = _fold(h, 15)
    h *= _M2
    return _fold(h, 13)


def drop_scale(keys: Tensor, columns: int, number: int, p: float, dtype: torch.dtype) -> Tensor:
    """(*, columns): 0 with probability p, else 1 / (1 - p): what dropout multiplies by.

    Each int32 of the hash gives two draws of 16 bits, so p is a multiple of 2^-16. The comparison writes floats
    straight away and the product is a plain one, because torch's `where` and `masked_fill` on bool masks take ten
    times as long on a CPU.
    """
    draws = uniform_bits(keys, (columns + 1) // 2, number).view(torch.int16)[..., :columns]
    kept = torch.empty(draws.shape, dtype=dtype, device=keys.device)
    torch.ge(draws, round(p * 2**16) - 2**15, out=kept)
    return kept.mul_(1 / (1 - p))
