"""Random numbers that are the same on every machine and with every version: the raw bits of PCG64, which NumPy never
changes, read as fractions. For generated data sets."""

import numpy as np


class Draws:
    """A stream of numbers for a seed and a place (which split, which purpose)."""

    def __init__(self, *seed: int) -> None:
        self.bits = np.random.PCG64(list(seed))

    def uniform(self, n: int) -> np.ndarray:
        """(n,) float64 in [0, 1), 53 random bits each."""
        return (self.bits.random_raw(n) >> 11) * 2.0**-53

    def below(self, limits: np.ndarray | int, n: int) -> np.ndarray:
        """(n,) int64 in [0, limits)."""
        return (self.uniform(n) * limits).astype(np.int64)

    def orders(self, rows: int, n: int) -> np.ndarray:
        """(rows, n): in each row 0 to n - 1 in a random order."""
        return self.uniform(rows * n).reshape(rows, n).argsort(axis=1, kind="stable")
