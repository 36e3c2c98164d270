"""`--plugin FILE`, which every command takes: a researcher's own parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from jorip.cli.console import say
from jorip.core.errors import ConfigError

HELP = (
    "--plugin FILE.py, before or after the command, registers a researcher's own parts; may be repeated "
    "(docs/new-attention.md)."
)
READING = ("eval", "predict", "generate", "show", "cost", "diff", "list", "report")  # change nothing that is kept
_OPTION = "--plugin"


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The files that are plugins, and all other arguments. What comes after -- is text.

    ConfigError: the file is missing.
    """
    files, rest = [], []
    left = iter(arguments)
    for word in left:
        if word == "--":
            return files, [*rest, word, *left]
        if word == _OPTION or word.startswith(_OPTION + "="):
            name = word.partition("=")[2] or next(left, "") if word == _OPTION else word.partition("=")[2]
            if not name or name.startswith("-"):
                raise ConfigError(f"{_OPTION} takes a Python file, found {name or 'nothing'!r}")
            files.append(name)
        else:
            rest.append(word)
    return files, rest


@contextmanager
def registered(files: list[str], command: str) -> Iterator[None]:
    """Their parts exist for the time of a command. Commands that only read may open what was made with another content
    of a file, and say so."""
    if not files:
        yield
        return
    from jorip.cli.listing import FAMILIES
    from jorip.core import plugin

    for where in FAMILIES:  # all names that exist are known before a file takes one
        import_module(f"jorip.{where.partition(':')[0]}")
    try:
        for file in files:
            plugin.load(file)
        if command in READING:
            plugin.allow_changed(say)
        yield
    finally:
        plugin.unload()


def of_run(folder: Path) -> dict[str, Any]:
    """What run.json keeps: `{"plugins": [name, path and sha256 of each]}`, nothing without any.

    Of a run that exists, what it was begun with; ConfigError when one of those is missing or has changed.
    """
    from jorip.core import plugin

    now = [p.record() for p in plugin.loaded()]
    try:
        begun = json.loads((folder / "run.json").read_bytes())["recipe"].get("plugins", [])
    except FileNotFoundError:
        begun = now
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        begun = []  # damaged: training says how
    try:
        plugin.check(begun)
    except ConfigError as e:
        raise ConfigError(f"{folder}: {e}") from None
    return {"plugins": begun} if begun else {}
