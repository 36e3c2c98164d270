"""`generation_config.json`: how a checkpoint's makers let it generate, kept, written back, and as our own options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jorip.core.errors import CheckpointError
from jorip.exchange.shards import small_json

GENERATION = "generation_config.json"
# transformers' option -> ours, where both mean the same
_SAME = {"max_new_tokens": "max_new_tokens", "num_beams": "beams", "min_new_tokens": "min_new_tokens"}
_DRAWN = ("temperature", "top_k", "top_p")  # of no effect unless do_sample


def read_generation(folder: Path) -> dict[str, Any]:
    """The settings of a folder; none where it has no such file. Raises CheckpointError for a damaged one."""
    if not (folder / GENERATION).is_file():
        return {}
    values = small_json(folder / GENERATION)
    if not isinstance(values, dict):
        raise CheckpointError(f"{folder / GENERATION}: damaged: settings are a mapping, found {type(values).__name__}")
    return values


def options(config: Mapping[str, Any], generation: Mapping[str, Any]) -> dict[str, Any]:
    """For `model.generate`: what the folder's settings mean there, config.json's own (old folders keep them there)
    included. Settings that mean something else here (length_penalty) or nothing are left out."""
    values = {**config, **generation}
    found = {ours: n for theirs, ours in _SAME.items() if type(n := values.get(theirs)) is int and n > 0}
    if values.get("do_sample") is True:
        found |= {name: v for name in _DRAWN if isinstance(v := values.get(name), int | float) and v}
    if isinstance(eos := first(values.get("eos_token_id")), int):
        found["eos"] = eos
    if isinstance(start := values.get("decoder_start_token_id"), int):
        found["bos"] = start
    return found


def first(value: Any) -> Any:
    """Several end tokens: the first is the model's own."""
    return value[0] if isinstance(value, list) and value else value
