"""`jorip diff`: what makes one model another."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jorip.cli.console import table, text, write, write_json
from jorip.cli.cost import ranges
from jorip.cli.options import Json

if TYPE_CHECKING:
    from jorip.core.spec import Spec

NAME = "diff"
_WHAT = "A recipe's name, a YAML or JSON file with a run or a model spec, a run's or a model's folder."
A = Annotated[str, typer.Argument(metavar="A", help=_WHAT)]
B = Annotated[str, typer.Argument(metavar="B", help="Another one.")]
ABSENT = "-"
_LAYER, _SIDE = re.compile(r"\blayers\.(\d+)(?=\.|$)"), re.compile(r"^(encoder|decoder)\.")


class Change(NamedTuple):
    """One value that differs; ABSENT where a spec has no such path."""

    path: str
    a: Any
    b: Any


def command(a: A, b: B, as_json: Json = False) -> None:
    """Show what makes one model another.

    Every value that differs, by path, with what it means, and the numbers of parameters. The paths are those of
    overrides: `**.eps` are all fields of that name. Of a part that only one of them has, what is left at its default is
    not shown (--json has it).
    """
    from jorip.cli.meaning import meaning
    from jorip.cli.specs import find_spec
    from jorip.core.cost import Shape

    left, right = find_spec(a), find_spec(b)
    found = changes(left, right)
    sizes = [s.cost(Shape(1, 1)).total_parameters for s in (left, right)]
    if as_json:
        rows = [c._asdict() for c in found]
        write_json({"a": a, "b": b, "differences": rows, "parameters": {"a": sizes[0], "b": sizes[1]}})
        return
    if not found:
        write("no difference")
        return
    rows = []
    for shown, c in together([c for c in found if telling(c, left, right)], left, right):
        rows.append((shown, value(c.a), value(c.b), meaning(c.path, right) or meaning(c.path, left)))
    table("", ("", a, b, "what it is"), [*rows, ("parameters", *sizes, "")])


def changes(a: Spec, b: Spec) -> list[Change]:
    """All of them; layers one by one where they are not alike."""
    from jorip.core.spec import flatten

    unrolled = any(".blocks." in f".{path}" for spec in (a, b) for path in flatten(spec))
    left, right = ({"architecture": spec.kind} | flatten(spec, unrolled=unrolled) for spec in (a, b))
    both = [Change(path, left.get(path, ABSENT), right.get(path, ABSENT)) for path in dict.fromkeys([*left, *right])]
    return [c for c in both if c.a != c.b]


def telling(c: Change, a: Spec, b: Spec) -> bool:
    """Not the default of a part that only one of them has, nor a layer that only one of them has."""
    from jorip.cli.meaning import step_into

    if ABSENT not in (c.a, c.b):
        return True
    if (layer := _LAYER.search(c.path)) and int(layer[1]) >= common_layers(c.path, a, b):
        return False
    owner, (*above, name) = (a if c.b == ABSENT else b), c.path.split(".")
    for step in above:
        owner = step_into(owner, step)
    field = getattr(type(owner), "model_fields", {}).get(name)  # None: a layer, by its number
    default = None if field is None else field.default
    return field is None or (c.a if c.b == ABSENT else c.b) != getattr(default, "kind", default)


def together(found: list[Change], a: Spec, b: Spec) -> list[tuple[str, Change]]:
    """The same change in several places as one, under a path for all of them."""
    from jorip.core.spec import flatten

    every = {path for spec in (a, b) for path in flatten(spec)}
    rows: dict[str, Change] = {}
    for c in found:
        same = {d.path for d in found if (last(d.path), repr(d[1:])) == (last(c.path), repr(c[1:]))}
        if len(same) > 1 and {p for p in every if last(p) == last(c.path)} == same:
            shown = f"**.{last(c.path)}"
        else:
            shown = layers(sides(c.path, same), c.path, same, common_layers(c.path, a, b))
        rows.setdefault(shown, c)
    return list(rows.items())


def last(path: str) -> str:
    return path.rpartition(".")[2]


def sides(path: str, same: set[str]) -> str:
    """One path for both stacks of an encoder-decoder."""
    both = {_SIDE.sub(f"{side}.", path) for side in ("encoder", "decoder")}
    return _SIDE.sub("{encoder,decoder}.", path) if both <= same and len(both) > 1 else path


def common_layers(path: str, a: Spec, b: Spec) -> int:
    """How many layers both have in the stack that a path is in."""
    from jorip.cli.meaning import step_into

    stacks: list[Any] = [a, b]
    for step in path.split("."):
        if step == "layers":
            break
        stacks = [step_into(s, step) for s in stacks]
    return min(getattr(s, "n_layers", 0) for s in stacks)


def layers(shown: str, path: str, same: set[str], n_layers: int) -> str:
    """One path for several layers: `layers.0-3.x`, or `layer.x` for all."""
    pattern = _LAYER.sub("", path)
    numbers = sorted(int(m[1]) for p in same if (m := _LAYER.search(p)) and _LAYER.sub("", p) == pattern)
    if not _LAYER.search(path):
        return shown
    return _LAYER.sub("layer" if len(numbers) == n_layers else f"layers.{','.join(ranges(numbers))}", shown)


def value(x: Any) -> str:
    """As a spec has it; numbers with thousands' separators."""
    return str(x).lower() if isinstance(x, bool) else text(x) if isinstance(x, int) else str(x)
