"""A model spec from whatever names one on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jorip.cli.console import say
from jorip.cli.folders import RUNS
from jorip.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from jorip.architectures.base import Architecture
    from jorip.exchange.origin import Origin


def find_spec(text: str, overrides: list[str] | None = None) -> Architecture:
    """A model recipe, a shipped run, a YAML or JSON file (a run or a spec), or a run's or model's folder.

    Overrides are `path=value` of the spec. A run that was not trained has its recipe's vocabulary size: its own is only
    known from the data. ConfigError: nothing of that name, or a file that is none of these.
    """
    from jorip.recipes import recipe, recipes
    from jorip.tasks.config import load_config, read_yaml, shipped

    path = Path(text)
    if text in recipes():
        spec = recipe(text)
    elif text in shipped():
        spec = _of_run(load_config(text))
    elif path.is_file():
        spec = _of_file(path)
    elif path.is_dir() or (RUNS / text).is_dir():
        spec = _of_folder(path if path.is_dir() else RUNS / text)
    else:
        known = sorted({*recipes(), *shipped()})
        raise ConfigError(f"there is no recipe, file or run {text!r}{did_you_mean(text, known)}")
    changes: dict[str, Any] = {}
    for item in overrides or []:
        key, eq, value = item.partition("=")
        if not eq or not key:
            raise ConfigError(f"an override is written path=value, found {item!r}")
        changes[key] = read_yaml(value, item)
    return spec.override(changes)


def checkpoint_of(text: str) -> Origin | None:
    """What a folder's checkpoint said beside its weights, where it is or was somebody else's; None for all others."""
    from jorip.architectures.folder import find
    from jorip.exchange.load import is_theirs, look
    from jorip.exchange.origin import read_origin
    from jorip.recipes import recipes
    from jorip.tasks.config import shipped

    folder = next((f for f in (Path(text), RUNS / text) if f.is_dir()), None)
    if folder is None or text in recipes() or text in shipped():
        return None
    return look(folder)[1] if is_theirs(folder) else read_origin(find(folder))


def _of_run(config) -> Architecture:
    from jorip.tasks.config import model_spec
    from jorip.tasks.registry import task_class

    say("note: an untrained run: vocabulary size and classes are the recipe's, training takes them from the data")
    return model_spec(config.model, task_class(config.task).recipe)


def _of_file(path: Path) -> Architecture:
    from jorip.architectures.base import from_dict
    from jorip.tasks.config import load_config, read_yaml

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: is not UTF-8 (byte {e.start}): save it as UTF-8") from None
    try:
        tree = json.loads(text) if path.suffix == ".json" else read_yaml(text, str(path))
    except ValueError as e:
        if isinstance(e, ConfigError):
            raise
        raise ConfigError(f"{path}: not valid JSON: {e}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: a run or a spec is a mapping, found {type(tree).__name__}")
    return _of_run(load_config(str(path))) if "task" in tree else from_dict(tree)


def _of_folder(folder: Path) -> Architecture:
    from jorip.architectures.base import from_dict
    from jorip.architectures.folder import find
    from jorip.core.errors import CheckpointError
    from jorip.exchange.load import is_theirs, look

    if is_theirs(folder):
        return look(folder)[0]
    found = find(folder) / "spec.json"
    try:
        return from_dict(json.loads(found.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CheckpointError(f"{found}: missing: this folder is not a trained model") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as e:
        raise CheckpointError(f"{found}: damaged ({e})") from None


def parameters_by_part(tree) -> dict[str, int]:
    """Parameters of a CostTree by part. Leaves that no part owns (norms, mostly) are counted under their module, all
    norms of a layer together.
    """
    found: dict[str, int] = {}
    for name, n in tree.parameters.items():
        if name not in tree.parts:
            name = name.rpartition(".")[0]
            head, norms, _ = name.partition(".norms.")
            name = head + norms.rstrip(".")
        found[name] = found.get(name, 0) + n
    return found
