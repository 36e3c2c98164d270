"""What is varied: fields of the model by path, and the values that they take.

    layer.mixer.mechanism=full,big_bird,{local: {window: 64}}      three variants
    that and n_layers=1,2                                          their product: six

A file has them by name, for variants that differ in more than one field:

    band: {layer.mixer.mechanism: {local: {window: 64}}}
    lstm: {layer.mixer: lstm}
    as it is: {}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from jorip.core.errors import ConfigError, did_you_mean
from jorip.tasks.config import DataConfig, EvaluationConfig, read_yaml
from jorip.training.config import TrainConfig

ENDS = ("steps", "epochs", "minutes", "patience")  # what may end a run: the only settings of training that may differ
_LOCKED = {
    "training": TrainConfig.model_fields,
    "data": DataConfig.model_fields,
    "evaluation": EvaluationConfig.model_fields,
    "tokenizer": ("kind", "vocab_size", "lowercase", "min_frequency", "normalize"),
    "objective": (),
    "task": (),
}


@dataclass(frozen=True)
class Variant:
    """changes: fields of the model by path, plain values; ends: of `training`, only where budgets may be unequal."""

    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    ends: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The label as the name of a folder."""
        return re.sub(r"[^\w.=+-]+", "-", self.label).strip("-.") or "variant"


def read_vary(text: str) -> tuple[str, list[Any]]:
    """`path=a,b,{c: {d: 1}}`: the path and its values, which are YAML. Raises ConfigError: not of that form."""
    path, eq, values = text.partition("=")
    if not eq or not path.strip():
        raise ConfigError(f"--vary is written path=value,value: found {text!r}")
    return path.strip(), read_yaml(f"[{values}]", f"--vary {text}")


def variants(vary: Mapping[str, Sequence[Any]], named: Mapping[str, Any] | str | Path | None = None) -> list[Variant]:
    """The product of all values, and of the named variants (a mapping, or a YAML file with one).

    Raises ConfigError: a path with one value or the same one twice, fewer than two variants, what is no model's field.
    """
    sides: list[list[tuple[str, dict[str, Any]]]] = []
    if named is not None:
        sides.append(_named(named))
    for path, values in vary.items():
        words = [word(path, v) for v in values]
        if len(values) < 2:
            only = f"only {words[0]}" if words else "none"
            raise ConfigError(f"--vary {path}: takes two or more values, separated by commas: found {only}")
        if twice := next((w for w in words if words.count(w) > 1), None):
            raise ConfigError(f"--vary {path}: {twice} is there twice")
        sides.append([(w, {path: v}) for w, v in zip(words, values)])
    if not sides:
        raise ConfigError(
            "there is nothing to compare: give --vary PATH=A,B (as in --vary layer.mixer=multi_head,lstm) or --variants"
        )
    combos = list(product(*sides))
    found = [_variant(", ".join(name for name, _ in c), _merged(changes for _, changes in c)) for c in combos]
    folders = [v.folder.casefold() for v in found]
    if twice := next((v for v in found if folders.count(v.folder.casefold()) > 1), None):
        raise ConfigError(
            f"two variants would be called {twice.folder!r}: name them yourself, in a file for --variants"
        )
    return found


def word(path: str, value: Any) -> str:
    """What a value is called in tables: a part by its name and fields, others with the field's name."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, fields),) = value.items()
        if isinstance(fields, Mapping) and fields:
            return f"{name}({', '.join(f'{k}={_plain(v)}' for k, v in fields.items())})"
        return str(name)
    return f"{path.rpartition('.')[2]}={_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return word("", value)
    return str(value).lower() if isinstance(value, bool | None) else str(value)


def _named(named: Mapping[str, Any] | str | Path) -> list[tuple[str, dict[str, Any]]]:
    where = "variants"
    if isinstance(named, str | Path):
        where, path = str(named), Path(named)
        try:
            named = read_yaml(path.read_text(encoding="utf-8"), where)
        except OSError as e:
            raise ConfigError(f"{path}: cannot be read ({e.strerror})") from None
        except UnicodeDecodeError as e:
            raise ConfigError(f"{path}: is not UTF-8 (byte {e.start}): save it as UTF-8") from None
    if not isinstance(named, Mapping) or len(named) < 2:
        found = f"{len(named)} names" if isinstance(named, Mapping) else type(named).__name__
        raise ConfigError(f"{where}: holds at least two variants, name: {{path: value}}, found {found}")
    for label, changes in named.items():
        if not isinstance(changes, Mapping | None):
            raise ConfigError(f"{where}: {label!r} is a mapping of paths of the model to values, found {changes!r}")
    return [(str(label), dict(changes or {})) for label, changes in named.items()]


def _merged(changes: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for some in changes:
        for path, value in some.items():
            merged.pop(path, None)  # what is set again is set last
            merged[path] = value
    return merged


def _variant(label: str, changes: dict[str, Any]) -> Variant:
    """Paths of the model, with or without `model.override.` before them; `training.minutes` and its like."""
    model, ends = {}, {}
    for path, value in changes.items():
        path = str(path).removeprefix("model.override.")
        section, _, rest = path.partition(".")
        if section == "training" and rest in ENDS:
            ends[rest] = value
        elif section in _LOCKED and (rest.partition(".")[0] in _LOCKED[section] or section in ("task", "objective")):
            raise ConfigError(
                f"variant {label!r}: {path} cannot be varied: data, tokenizer and training are the same for all "
                "variants. Give it as an override for all of them, or make two comparisons"
            )
        elif section == "training":
            raise ConfigError(f"variant {label!r}: unknown key {path!r}{did_you_mean(rest, ENDS)}")
        else:
            model[path] = value
    return Variant(label, model, ends)
