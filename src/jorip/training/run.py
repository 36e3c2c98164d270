"""A run's folder, and the facts in `run.json` that make it repeatable and a resume refusable.

runs/NAME/run.json       resolved configuration, data fingerprint, versions, hardware, what was measured first
          events.jsonl   what happened
          ckpt/          checkpoints
          lock           held while a process trains
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from jorip.core.errors import CheckpointError, ConfigError
from jorip.training.atomic import disk_errors, dumps, replace_json

FORMAT = 1
COMPARED = ("config", "recipe", "data")  # a resume must agree on these
_PACKAGES = ("jorip", "torch", "numpy", "pydantic", "safetensors", "tokenizers")


def versions() -> dict[str, str]:
    """Python and the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """What the run was begun on."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


class RunFolder:
    """`runs/NAME/` on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "run.json"
        self.events = path / "events.jsonl"
        self.ckpt = path / "ckpt"
        with disk_errors(path):
            self.ckpt.mkdir(parents=True, exist_ok=True)

    def sweep(self) -> None:
        """Removes what an interrupted write left. Only for the process that holds the lock."""
        for path in self.path.glob(".*.tmp-*"):
            path.unlink()

    def read(self) -> dict[str, Any] | None:
        """`run.json`, None for a new run. CheckpointError when it is damaged."""
        try:
            found = json.loads(self.file.read_bytes())
            if found["format"] > FORMAT:
                raise CheckpointError(
                    f"{self.file}: written in format {found['format']}, this jorip reads up to {FORMAT}"
                )
            return {**found, "measured": dict(found["measured"])}
        except FileNotFoundError:
            if any(self.ckpt.glob("step-*")):
                raise CheckpointError(f"{self.file}: missing, though the run has checkpoints: restore it") from None
            return None
        except CheckpointError:
            raise
        except (ValueError, KeyError, TypeError) as e:
            raise CheckpointError(f"{self.file}: damaged ({e}): restore it, or begin a new run folder") from None

    def begin(self, resolved: dict[str, Any], measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The run's `measured` facts: read from an earlier start, else measured now and written before the first step.

        ConfigError when the folder belongs to a run with another configuration, recipe or data.
        """
        found = self.read()
        if found is not None:
            refuse_changes(self.path, found, resolved)
            return found["measured"]
        facts = {
            "format": FORMAT,
            **resolved,
            "measured": measured(),
            "versions": versions(),
            "hardware": hardware(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        replace_json(self.file, facts)
        return facts["measured"]


def refuse_changes(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """ConfigError naming every key in which a resume differs from the run that was begun."""
    old, new = ({k: d.get(k) for k in COMPARED} for d in (found, json.loads(dumps(wanted))))
    if lines := list(differences(old, new)):
        raise ConfigError(
            f"{path}: was begun with other settings, so it cannot be resumed with these:\n  "
            + "\n  ".join(lines)
            + "\nGo back to the first values, or train into a new run folder"
        )


def differences(old: Any, new: Any, where: str = ""):
    """`config.optimizer.lr: 0.001 -> 0.01` for each value that differs. A setting that the version which began the run
    did not know counts as off: none, empty or false."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in old and new[key] in (None, [], {}, False):
                continue
            yield from differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
    elif old != new:
        yield f"{where}: {old!r} -> {new!r}"
