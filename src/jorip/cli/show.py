"""`jorip show`: what a model is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jorip.cli.console import out, table, write, write_json
from jorip.cli.options import Json, SpecOverrides, Target

if TYPE_CHECKING:
    from rich.tree import Tree

    from jorip.core.spec import Spec

NAME = "show"


def command(spec: Target, overrides: SpecOverrides = None, as_json: Json = False) -> None:
    """Show what a model is made of.

    Its spec as a tree, and how many parameters each part has. SPEC may be overridden by path, so this also shows what
    an override does. Of a Hugging Face folder also the load report: what every field and every key becomes.
    """
    from jorip.cli.cost import together
    from jorip.cli.specs import checkpoint_of, find_spec, parameters_by_part
    from jorip.core.cost import Shape

    model = find_spec(spec, overrides)
    tree = model.cost(Shape(1, 1))
    parameters = parameters_by_part(tree)
    origin = checkpoint_of(spec)
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
