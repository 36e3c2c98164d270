"""The k largest numbers of each row, exact ties broken by place, whatever way torch searches."""

from __future__ import annotations

from torch import Tensor


def largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(rows, n) -> values and indices, each (rows, min(k, n)), largest first; of equal ones the lowest index first.

    Where everything above -inf is taken already, the order of the rest is unspecified.
    """
    n, k = scores.shape[1], min(k, scores.shape[1])
    value, index = scores.topk(min(k + 1, n))  # one more shows whether topk had to choose among equal ones
    tied = (value[:, k - 1] == value[:, k]) & (value[:, k] > float("-inf")) if k < n else None
    index, order = index[:, :k].sort(dim=1)
    value, order = value.gather(1, order).sort(dim=1, descending=True, stable=True)
    index = index.gather(1, order)
    if tied is not None and bool(tied.any()):
        exact = scores[tied].sort(dim=1, descending=True, stable=True)
        value[tied], index[tied] = exact.values[:, :k], exact.indices[:, :k]
    return value, index
