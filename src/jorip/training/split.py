"""How processes and micro-batches share the examples of a global batch. A partition: none lost, none twice."""

from __future__ import annotations

from collections.abc import Sequence


def share(ids: Sequence[int], sizes: Sequence[int], ranks: int) -> list[list[int]]:
    """One list of ids per rank, about equal in tokens: from the longest down, each to the rank that has the least.

    sizes: tokens of each of `ids`, in the same order. With fewer examples than ranks some lists are empty.
    """
    if ranks == 1:
        return [list(ids)]
    shares: list[list[int]] = [[] for _ in range(ranks)]
    load = [0] * ranks
    for i in sorted(range(len(ids)), key=lambda i: (-sizes[i], i)):
        r = min(range(ranks), key=lambda r: (load[r], r))
        shares[r].append(ids[i])
        load[r] += sizes[i]
    return shares


def micro_batches(ids: Sequence[int], sizes: Sequence[int], limit: int | None) -> list[list[int]]:
    """Cuts into micro-batches of at most `limit` tokens (a longer example goes alone), like lengths together."""
    if limit is None or sum(sizes) <= limit:
        return [list(ids)] if ids else []
    parts: list[list[int]] = []
    room = 0
    for i in sorted(range(len(ids)), key=lambda i: (-sizes[i], i)):
        if not parts or sizes[i] > room:
            parts.append([])
            room = limit
        parts[-1].append(ids[i])
        room -= sizes[i]
    return parts
