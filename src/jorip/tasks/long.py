"""What to read of a text that is longer than the model: its head, its head and tail, or all of it in windows.

Head and tail: Sun et al. 2019 (1905.05583, 5.3.1) keep the first quarter of what fits and the end of the text. Windows
overlap by `stride`; their rows are pooled as one text, or each is one row of a second stack (hierarchical).
"""

from __future__ import annotations

from typing import Literal

Strategy = Literal["head", "head_tail", "windows", "hierarchical"]


def head(ids: list[int], room: int) -> list[int]:
    return ids[:room]


def head_tail(ids: list[int], room: int) -> list[int]:
    """At most `room` tokens: the first quarter of them from the start of the text, the others from its end."""
    if len(ids) <= room:
        return ids
    head = room // 4
    return ids[:head] + ids[len(ids) - (room - head) :]


def windows(ids: list[int], room: int, stride: int | None) -> list[list[int]]:
    """Parts of at most `room` tokens, each `stride` further than the one before (None: half of room); at least one."""
    step = min(room, stride or max(room // 2, 1))
    found = [ids[:room]]
    start = 0
    while start + room < len(ids):
        start += step
        found.append(ids[start : start + room])
    return found
