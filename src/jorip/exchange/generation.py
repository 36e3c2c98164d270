"""`generation_config.json`: how a checkpoint's makers let it generate, kept and written back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jorip.core.errors import CheckpointError
from jorip.exchange.shards import small_json

GENERATION = "generation_config.json"


def read_generation(folder: Path) -> dict[str, Any]:
    """The settings of a folder; none where it has no such file. Raises CheckpointError for a damaged one."""
    if not (folder / GENERATION).is_file():
        return {}
    values = small_json(folder / GENERATION)
    if not isinstance(values, dict):
        raise CheckpointError(f"{folder / GENERATION}: damaged: settings are a mapping, found {type(values).__name__}")
    return values
