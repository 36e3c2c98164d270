"""Mean and 95 % interval of a few values (Student 1908)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

# 97.5 % points of Student's t for 1 to 10 degrees of freedom
_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
_Z = 1.959964


class Interval(NamedTuple):
    """mean; half: the interval is mean - half to mean + half, None for a single value; n: how many values."""

    mean: float
    half: float | None
    n: int

    @property
    def low(self) -> float:
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        return self.mean + (self.half or 0.0)

    def text(self, digits: int = 4) -> str:
        """`0.3712 ± 0.0043`."""
        half = "" if self.half is None else f" ± {self.half:.{digits}f}"
        return f"{self.mean:.{digits}f}{half}"


def student(freedom: int) -> float:
    """The 97.5 % point of Student's t: a table, then Cornish and Fisher's expansion (off by less than 2e-4)."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    z, v = _Z, freedom
    second, third = 5 * z**5 + 16 * z**3 + 3 * z, 3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z
    return z + (z**3 + z) / (4 * v) + second / (96 * v**2) + third / (384 * v**3)


def interval(values: Sequence[float]) -> Interval | None:
    """None for no values."""
    n = len(values)
    if not n:
        return None
    mean = sum(values) / n
    if n == 1:
        return Interval(mean, None, 1)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    return Interval(mean, student(n - 1) * deviation / math.sqrt(n), n)
