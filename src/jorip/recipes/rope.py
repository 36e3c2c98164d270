"""Rotary positions in the configs of others, old and new.

transformers 5 writes `rope_parameters: {rope_type, rope_theta, ...}`; before, there were `rope_theta` beside
`rope_scaling: {type or rope_type, ...}`. All are read, the first is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jorip.core.errors import CheckpointError, did_you_mean
from jorip.parts.position.rotary import Rotary
from jorip.parts.position.scaling import Dynamic, Linear, Llama3, LongRope, Scaling, Yarn
from jorip.recipes.family import Config

_THETA = 10000.0
_LENGTH = "original_max_position_embeddings"
# their rope_type -> our law, and their field -> ours
_LAWS: dict[str, tuple[type[Scaling], dict[str, str]]] = {
    "linear": (Linear, {"factor": "factor"}),
    "dynamic": (Dynamic, {"factor": "factor"}),
    "yarn": (Yarn, {"factor": "factor", _LENGTH: "original", "attention_factor": "attention",
                    "beta_fast": "beta_fast", "beta_slow": "beta_slow", "truncate": "truncate"}),
    "llama3": (Llama3, {"factor": "factor", "low_freq_factor": "low", "high_freq_factor": "high", _LENGTH: "original"}),
    "longrope": (LongRope, {"factor": "factor", "short_factor": "short", "long_factor": "long", _LENGTH: "original",
                            "attention_factor": "attention"}),
}  # fmt: skip
_NOTES = {_LENGTH, "finetuned", "max_position_embeddings"}  # said beside some laws, and not used by them


def read_rotary(config: Config, max_len: int) -> Rotary:
    """max_len: their max_position_embeddings, which some laws are relative to.

    Raises CheckpointError for a law that is not known, a field missing or too much, and partly turned heads.
    """
    theta, whole = config.take("rope_theta", None), config.take("partial_rotary_factor", None)
    length = config.take(_LENGTH, None)
    new, old = config.take("rope_parameters", None), config.take("rope_scaling", None)
    given = old or new or {}
    if not isinstance(given, Mapping) or any(isinstance(v, Mapping) for v in given.values()):
        raise CheckpointError(f"{config.where}: rotary positions are one mapping for all layers, found {given!r}")
    found = {name: value for name, value in given.items() if value is not None}
    theta = found.pop("rope_theta", theta)
    kind = found.pop("type", "default")
    kind = found.pop("rope_type", kind)
    whole = found.pop("partial_rotary_factor", whole)
    if whole not in (None, 1):
        raise CheckpointError(f"{config.where}: partial_rotary_factor: {whole!r} is not supported, 1.0 is")
    base = _number(config, "rope_theta", _THETA if theta is None else theta)
    if kind == "default":
        return Rotary(base=base, rounded=True)
    if kind not in _LAWS:
        raise CheckpointError(
            f"{config.where}: rope_type {kind!r} is not known{did_you_mean(str(kind), _LAWS)}; known are default, "
            + ", ".join(_LAWS)
        )
    law, names = _LAWS[kind]
    if _LENGTH in names:
        found[_LENGTH] = length or found.get(_LENGTH, max_len)
    found |= _derived(config, str(kind), found, max_len)
    if unknown := sorted(set(found) - set(names) - _NOTES):
        raise CheckpointError(
            f"{config.where}: rope_type {kind!r} has no field {unknown[0]!r}{did_you_mean(unknown[0], names)}"
        )
    values = {ours: _plain(config, theirs, found[theirs]) for theirs, ours in names.items() if theirs in found}
    if missing := sorted(n for n, f in law.model_fields.items() if f.is_required() and n not in values):
        theirs = next(t for t, ours in names.items() if ours == missing[0])
        raise CheckpointError(f"{config.where}: rope_type {kind!r} needs the field {theirs!r}")
    return Rotary(base=base, rounded=True, scaling=law(**values, **({"original": max_len} if law is Dynamic else {})))


def _derived(config: Config, kind: str, found: dict[str, Any], max_len: int) -> dict[str, Any]:
    """What is computed from other fields where it is not said."""
    more: dict[str, Any] = {}
    if kind == "llama3" and {"low_freq_factor", "high_freq_factor"} - set(found):
        raise CheckpointError(f"{config.where}: rope_type 'llama3' needs low_freq_factor and high_freq_factor")
    if "factor" not in found:
        if kind not in ("yarn", "longrope"):
            raise CheckpointError(f"{config.where}: rope_type {kind!r} needs the field 'factor'")
        more["factor"] = max_len / _number(config, _LENGTH, found[_LENGTH])
    scale, of_all = (found.pop(n, None) for n in ("mscale", "mscale_all_dim"))
    if kind == "yarn" and scale and of_all and "attention_factor" not in found:
        slope = 0.1 * math.log(max(_number(config, "factor", (found | more)["factor"]), 1.0))
        more["attention_factor"] = (slope * scale + 1) / (slope * of_all + 1)
    return more


def write_rotary(position: Any) -> dict[str, Any]:
    """The fields of a config; none for other positions, which then do not read back."""
    if not isinstance(position, Rotary):
        return {}
    law, kind = position.scaling, "default" if position.scaling is None else position.scaling.kind
    names = _LAWS[kind][1] if kind in _LAWS else {}
    values = {theirs: getattr(law, ours) for theirs, ours in names.items()}
    values = {n: list(v) if isinstance(v, tuple) else v for n, v in values.items() if v is not None}
    return {"rope_parameters": {"rope_type": kind, "rope_theta": position.base} | values}


def _number(config: Config, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CheckpointError(f"{config.where}: {name} must be a number, found {value!r}")
    return float(value)


def _plain(config: Config, name: str, value: Any) -> Any:
    """The value as our field takes it."""
    if name == _LENGTH:
        return int(_number(config, name, value))
    if isinstance(value, list):
        return tuple(_number(config, name, v) for v in value)
    return value if isinstance(value, bool) else _number(config, name, value)
