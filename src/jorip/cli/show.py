"""`jorip show`: what a model is made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jorip.cli.console import out, table, write, write_json
from jorip.cli.options import Json, SpecOverrides, Target

if TYPE_CHECKING:
    from rich.tree import Tree

    from jorip.core.spec import Spec
    from jorip.report.patterns import Picture

NAME = "show"


Drawing = Annotated[
    Path | None,
    typer.Option("--picture", metavar="FILE", help="Draw what each kind of attention sees, as a .png or .svg file."),
]
Rows = Annotated[
    int | None,
    typer.Option(
        "--length", min=1, max=4096, help="Rows of these pictures. By default as few as a pattern needs to show."
    ),
]


def command(
    spec: Target,
    overrides: SpecOverrides = None,
    as_json: Json = False,
    picture: Drawing = None,
    length: Rows = None,
) -> None:
    """Show what a model is made of.

    Its spec as a tree, how many parameters each part has, and what its sparse attention sees. SPEC may be overridden by
    path, so this also shows what an override does. Of a Hugging Face folder also the load report: what every field and
    every key becomes.
    """
    from jorip.cli.cost import together
    from jorip.cli.specs import checkpoint_of, find_spec, parameters_by_part
    from jorip.core.cost import Shape
    from jorip.report.patterns import pictures, save

    model = find_spec(spec, overrides)
    tree = model.cost(Shape(1, 1))
    parameters = parameters_by_part(tree)
    origin = checkpoint_of(spec)
    if picture is not None:
        save(pictures(model, length), picture)
    if as_json:
        write_json({
            "name": spec, "spec": model.to_dict(), "parameters": parameters, "total_parameters": tree.total_parameters,
            **({} if origin is None else {"checkpoint": origin.account}),
        })  # fmt: skip
        return
    out().print(branch(model.kind, model))
    rows = together([{"path": p, "parameters": n} for p, n in parameters.items()])
    table("", ("part", "parameters"), [*((r["path"], r["parameters"]) for r in rows), ("total", tree.total_parameters)],
          right=("parameters",))  # fmt: skip
    for line in [] if origin is None else origin.lines:
        write(line)
    draw([p for p in pictures(model, length) if not p.everything])


def draw(found: list[Picture]) -> None:
    """What mixers see: queries downwards, keys to the right."""
    from jorip.report.patterns import lines

    for p in found:
        write(p.title)
        for line in lines(p):
            write(line)
        write("")


def branch(label: str, spec: Spec) -> Tree:
    """A spec: its plain fields on one line, its parts below."""
    from rich.tree import Tree

    from jorip.core.spec import Spec

    values = {name: getattr(spec, name) for name in type(spec).model_fields}
    parts = {n: v for n, v in values.items() if isinstance(v, Spec)}
    for name, value in values.items():
        if isinstance(value, tuple) and any(isinstance(v, Spec) for v in value):
            parts |= {f"{name}.{i}": v for i, v in enumerate(value)}
    plain = {n: v for n, v in values.items() if n not in parts and f"{n}.0" not in parts and v is not None}
    ids = f"  [{', '.join(spec.ids)}]" if spec.ids else ""
    tree = Tree(f"{label}{ids}  " + "  ".join(f"{n}={_short(v)}" for n, v in plain.items()))
    for name, part in parts.items():
        tree.children.append(branch(f"{name}: {part.kind}", part))
    return tree


def _short(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
