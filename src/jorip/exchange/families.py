"""The families of checkpoints that can be read and written: their `model_type` -> the recipe's module."""

from __future__ import annotations

from importlib import import_module

from jorip.core.errors import CheckpointError, did_you_mean
from jorip.recipes.family import Family
from jorip.recipes.fields import short

_MODULES = {
    "big_bird": "big_bird",
    "bert": "bert",
    "roberta": "roberta",
    "xlm-roberta": "roberta",
    "camembert": "roberta",
    "gpt2": "gpt2",
    "openai-gpt": "gpt",
    "gpt_neo": "gpt_neo",
    "llama": "llama",
    "mistral": "mistral",
    "qwen2": "qwen",
    "qwen3": "qwen",
    "bart": "bart",
    "t5": "t5",
    "switch_transformers": "switch",
}


def families() -> tuple[str, ...]:
    return tuple(_MODULES)


def family(model_type: object, where: str = "config.json") -> Family:
    """Raises CheckpointError for a family that is not known, with the closest one. where: who names it."""
    if not isinstance(model_type, str) or model_type not in _MODULES:
        found = "there is no model_type" if model_type is None else f"model_type {short(model_type)} is not known"
        close = did_you_mean(str(model_type)[:100], _MODULES)
        known = ", ".join(sorted(_MODULES))
        raise CheckpointError(f"{where}: {found}{close if 'mean' in close else ''}; known are {known}")
    module = import_module(f"jorip.recipes.{_MODULES[model_type]}")
    return next(f for f in vars(module).values() if isinstance(f, Family) and f.model_type == model_type)
