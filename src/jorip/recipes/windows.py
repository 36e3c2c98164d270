"""Stacks whose layers see everything or a window: as their configs count them, a window or None for each layer."""

from __future__ import annotations

from collections.abc import Sequence

from jorip.architectures.base import Stacked
from jorip.blocks.base import Block
from jorip.blocks.layers import Cycle, Each
from jorip.parts.attention.full import Full
from jorip.parts.attention.sparse.local import Local
from jorip.recipes.family import get


def windowed(block: Block, window: int | None) -> Block:
    """The same block with a window, or without."""
    more = {name: get(block, f"mixer.mechanism.{name}") for name in ("scale", "dropout")}
    mechanism = Full(**more) if window is None else Local(window=window, **more)
    return block.override({"mixer.mechanism": mechanism})


def mixed(block: Block, windows: Sequence[int | None]) -> Block:
    """One layer for each window, written shortest: one block, a repeated pattern, or every layer named."""
    n = len(windows)
    period = next((p for p in range(1, n) if all(windows[i] == windows[i % p] for i in range(n))), n)
    blocks = [windowed(block, w) for w in windows[:period]]
    if period <= 1:
        return blocks[0] if blocks else block
    return Each(blocks=tuple(blocks)) if period == n else Cycle(blocks=tuple(blocks))


def windows_of(spec: Stacked) -> list[int | None]:
    """The window of every layer."""
    return [get(spec.layer.of(i), "mixer.mechanism.window") for i in range(spec.n_layers)]
