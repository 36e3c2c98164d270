"""`events.jsonl`: what happened in a run, a line each, flushed as it happens.

kinds: `train` (every log_every steps), `evaluation`, `samples`, `nonfinite`, `memory`, `end`. A checkpoint remembers
how long the file was; a resume cuts it there, so that the file of an interrupted run equals that of an uninterrupted
one, apart from the fields in WALL.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jorip.training.atomic import disk_errors

WALL = ("seconds", "tokens_per_second")  # wall time: differs from run to run


def plain(value: Any) -> Any:
    """The value in JSON's terms: tensors as numbers or lists, NaN and infinities as text."""
    if type(value) is float and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, torch.Tensor | np.generic | np.ndarray):
        return plain(value.tolist())
    return value


class EventLog:
    """Appends lines. `length` is where to cut first: what a checkpoint noted, 0 for a new run."""

    def __init__(self, path: Path, length: int = 0) -> None:
        self.path = path
        with disk_errors(path):
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (open as long as the run)
            self.short = self._file.seek(0, os.SEEK_END) < length
            if not self.short:
                self._file.truncate(length)

    def write(self, kind: str, **fields: Any) -> None:
        """One line, in the hands of the system when this returns."""
        line = json.dumps({"kind": kind, **plain(fields)}, ensure_ascii=False, allow_nan=False) + "\n"
        with disk_errors(self.path):
            self._file.write(line.encode("utf-8"))

    def sync(self) -> int:
        """Everything to the disk; the length, for the checkpoint."""
        with disk_errors(self.path):
            os.fsync(self._file.fileno())
        return self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_events(run: Path) -> list[dict[str, Any]]:
    """All events of a run folder, in order. A last line that was cut off by a kill is left out."""
    lines = (run / "events.jsonl").read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines]
