"""`jorip check`: what a training would meet, found out before it starts."""

from typing import Any

import typer

from jorip.cli.console import err, facts, say, table, write, write_json
from jorip.cli.options import Config, Json, Overrides, PrintConfig

NAME = "check"


def command(
    config: Config, overrides: Overrides = None, print_config: PrintConfig = False, as_json: Json = False
) -> None:
    """Look at the data and the model before training.

    Row counts, bad rows, unknown tokens, lengths, truncation, padding, cost, and whether it fits. Exits with 3 when
    there is something that training would refuse.
    """
    from jorip.tasks.config import load_config, to_yaml

    resolved = load_config(config, overrides or [])
    if print_config:
        write(to_yaml(resolved).rstrip())
        return

    from jorip.tasks.check import check

    found = check(resolved, err())
    if as_json:
        write_json(found.as_dict())
    else:
        show(found.as_dict())
        for w in found.warnings:
            say(f"warning: {w}")
        for p in found.problems:
            say(f"problem: {p}")
        if not found.problems:
            write(f"ready: jorip train {' '.join([config, *(overrides or [])])}")
    if found.problems:
        raise typer.Exit(3)


def show(sections: dict[str, Any]) -> None:
    """The splits side by side, then the rest."""
    splits = {name: s for name, s in sections.items() if isinstance(s, dict) and "rows" in s}
    if splits:
        names = dict.fromkeys(n for s in splits.values() for n in s)
        table("", ("", *splits), [(n, *(s.get(n) for s in splits.values())) for n in names], right=tuple(splits))
    for name, section in sections.items():
        if name not in splits and name not in ("warnings", "problems"):
            facts(name, section if isinstance(section, dict) else {name: section})
