"""The same numbers as `events.jsonl`, for TensorBoard (extra `jorip[tensorboard]`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jorip.core.errors import ConfigError


class Board:
    """Writes scalars into `runs/NAME/tensorboard/`. step: where a resume begins; later points are purged."""

    def __init__(self, run: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ConfigError(
                "training.tensorboard: the package tensorboard is not installed: pip install 'jorip[tensorboard]', "
                "or set it to false"
            ) from None
        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Every number of `values` as `kind/name`."""
        for name, value in values.items():
            if isinstance(value, int | float) and name not in ("step", "epoch"):
                self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flushes and closes."""
        self._writer.close()
