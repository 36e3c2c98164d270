"""`jorip list`: the survey's map, and what there is to build with."""

import sys
from importlib import import_module
from typing import Annotated, Any, Literal

import typer

from jorip.cli.console import table, write, write_json
from jorip.cli.options import Json

NAME = "list"
FAMILIES = (
    "architectures.base:Architecture", "blocks.base:Block", "parts.mixer.base:Mixer", "parts.attention.base:Mechanism",
    "parts.nodes.base:Nodes", "parts.position.base:Position", "parts.norm.base:Norm",
    "parts.feedforward.base:FeedForward", "parts.embedding.base:Embedding", "parts.readout.base:Readout",
    "core.init:Init",
)  # fmt: skip


def command(
    what: Annotated[
        Literal["map", "recipes", "parts"],
        typer.Argument(help="map: the survey's rows; recipes: what can be trained; parts: what a spec can name."),
    ] = "map",
    status: Annotated[Literal["working", "planned"] | None, typer.Option(help="Only these rows of the map.")] = None,
    as_json: Json = False,
) -> None:
    """List the survey's map, recipes or parts.

    The map has a row for each variant of the survey, and whether it works."""
    if what == "map":
        rows = _map(status)
        if as_json:
            write_json(rows)
            return
        columns = ("id", "name", "kind", "status", "paper")
        table(
            "A Survey of Transformers (Lin et al. 2021), row by row", columns, [[r[c] for c in columns] for r in rows]
        )
        for r in rows:
            if "plugin" in r:
                write(f"{r['name']} is from {r['plugin']}")
        rows = [r for r in rows if "plugin" not in r]
        working = sum(r["status"] == "working" for r in rows)
        write(f"{working} of {len(rows)} work. Also: jorip list recipes, jorip list parts")
        return
    rows = _recipes() if what == "recipes" else _parts()
    if as_json:
        write_json(rows)
    else:
        table("", tuple(rows[0]), [list(r.values()) for r in rows])


def _map(status: str | None) -> list[dict[str, Any]]:
    from jorip.map import rows

    survey = [r.as_dict() for r in rows() if status in (None, r.status)]
    return survey + ([] if status == "planned" else _of_plugins())


def _plugins() -> list[Any]:
    """Those of this command line."""
    if "jorip.core.plugin" not in sys.modules:  # `list` alone imports neither pydantic nor torch
        return []
    from jorip.core.plugin import loaded

    return loaded()


def _of_plugins() -> list[dict[str, Any]]:
    """Rows like those of the map, and where they come from."""
    rows = []
    for p in _plugins():
        for family, name in p.parts:
            kind = family.package.rpartition(".")[2] or family.__name__.lower()
            row = {"id": None, "name": name, "kind": kind, "status": "working", "paper": None}
            rows.append(row | {"plugin": str(p.path)})
    return rows


def _recipes() -> list[dict[str, str]]:
    from jorip.recipes import recipe, recipes
    from jorip.tasks.config import shipped

    runs = [{"name": n, "kind": "run", "use": f"jorip train {n}", "about": text} for n, text in shipped().items()]
    models = [{"name": n, "kind": "model", "use": f"model.recipe={n}", "about": recipe(n).kind} for n in recipes()]
    return runs + models


def _parts() -> list[dict[str, Any]]:
    rows, files = [], {p.module: str(p.path) for p in _plugins()}
    for where in FAMILIES:
        module, _, name = where.partition(":")
        family = getattr(import_module(f"jorip.{module}"), name)
        for kind, cls in family.members().items():
            about = (sys.modules[cls.__module__].__doc__ or "").strip().partition("\n")[0]
            row = {"family": name, "name": kind, "ids": ", ".join(cls.ids), "about": about}
            rows.append(row | ({"plugin": files.get(cls.__module__)} if files else {}))
    return rows
