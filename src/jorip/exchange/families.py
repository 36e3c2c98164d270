"""The families of checkpoints that can be read and written: their `model_type` -> the recipe's module."""

from __future__ import annotations

from importlib import import_module

from jorip.core.errors import CheckpointError, did_you_mean
from jorip.recipes.family import Family

_MODULES = {
    "gpt2": "gpt2",
}


def families() -> tuple[str, ...]:
    return tuple(_MODULES)


def family(model_type: str) -> Family:
    """Raises CheckpointError for a family that is not known, with the closest one."""
    if model_type not in _MODULES:
        raise CheckpointError(
            f"model_type {model_type!r} is not known{did_you_mean(model_type, _MODULES)}; known are "
            + ", ".join(sorted(_MODULES))
        )
    module = import_module(f"jorip.recipes.{_MODULES[model_type]}")
    return next(f for f in vars(module).values() if isinstance(f, Family) and f.model_type == model_type)
