"""`jorip cost`: what a model costs, part by part, before anything is trained."""

import re
from typing import Annotated, Any, Literal

import typer

from jorip.cli.console import table, write, write_json
from jorip.cli.options import Json, SpecOverrides, Target

NAME = "cost"
_LAYER = re.compile(r"layers\.(\d+)\.")
COLUMNS = (
    "parameters", "linear_macs", "mixing_macs", "flops", "activation_bytes", "state_bytes", "sequential", "path_length",
)  # fmt: skip


def command(
    spec: Target,
    overrides: SpecOverrides = None,
    batch: Annotated[int, typer.Option(min=1, help="Sequences at once.")] = 1,
    length: Annotated[int, typer.Option(min=1, help="Tokens of each sequence (of the target, in translation).")] = 512,
    memory: Annotated[
        int | None, typer.Option(min=1, help="Tokens of the source, in translation (default: as --length).")
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="Of activations and decoding state: 4 or 2 bytes each.")
    ] = "fp32",
    as_json: Json = False,
) -> None:
    """Count what a model costs, part by part.

    Parameters, operations and memory, compared with the survey's Table 1. MACs are multiply-accumulates of one forward
    pass (1 MAC = 2 FLOPs): linear against weights, mixing between tokens. Activations are what training keeps for the
    backward pass, state is what decoding keeps.
    """
    from jorip.cli.specs import find_spec
    from jorip.cli.table1 import compare
    from jorip.core.cost import Shape

    model = find_spec(spec, overrides)
    tree = model.cost(Shape(batch, length, memory or 0))
    rows = part_rows(tree, {"fp32": 4, "bf16": 2}[precision])
    total = total_row(tree, rows)
    survey = compare(model, tree)
    if as_json:
        shape = {"batch": batch, "length": length, "memory": memory, "precision": precision}
        write_json({"spec": spec, "shape": shape, "parts": rows, "total": total, "survey_table_1": survey})
        return
    shown = [*together(rows), total]
    table(
        f"{spec}: batch {batch}, length {length}, {precision}",
        ("part", *(c.replace("_", " ") for c in COLUMNS)),
        [(r["path"], *(r[c] for c in COLUMNS)) for r in shown],
        right=tuple(c.replace("_", " ") for c in COLUMNS),
    )
    for name, found in survey.items():
        _survey_table(name, found)


def part_rows(tree, width: int) -> list[dict[str, Any]]:
    """One row per part, in the model's order; parts with parameters only (norms) come last."""
    from jorip.cli.specs import parameters_by_part
    from jorip.core.cost import Cost

    parameters = parameters_by_part(tree)
    return [
        {
            "path": path,
            "parameters": parameters.get(path, 0),
            "linear_macs": (cost := tree.parts.get(path, Cost())).linear,
            "mixing_macs": cost.mixing,
            "macs": cost.macs,
            "flops": cost.flops,
            "activation_bytes": cost.activations * width,
            "state_bytes": cost.state * width,
            "sequential": cost.sequential,
            "path_length": cost.path,
        }
        for path in dict.fromkeys([*tree.parts, *parameters])
    ]


def total_row(tree, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums over all parts; parameters are the model's, shared ones once."""
    names = [n for n in rows[0] if n != "path"]
    return {"path": "total"} | {n: sum(r[n] for r in rows) for n in names} | {"parameters": tree.total_parameters}


def together(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same part of equal layers as one row with their sum: `layers.0-5.mixer`."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for r in rows:
        groups.setdefault((_LAYER.sub("layers.*.", r["path"]), *(v for k, v in r.items() if k != "path")), []).append(r)
    merged = []
    for group in groups.values():
        layers = [int(m[1]) for r in group if (m := _LAYER.search(r["path"]))]
        row = {k: sum(r[k] for r in group) for k in group[0] if k != "path"}
        span = f"layers.{','.join(ranges(layers))}." if len(group) > 1 else None
        path = group[0]["path"]
        merged.append({"path": _LAYER.sub(span, path) if span else path} | row)
    return merged


def ranges(numbers: list[int]) -> list[str]:
    """[0, 1, 2, 5] -> ["0-2", "5"]."""
    found: list[list[int]] = []
    for n in numbers:
        if found and n == found[-1][1] + 1:
            found[-1][1] = n
        else:
            found.append([n, n])
    return [str(a) if a == b else f"{a}-{b}" for a, b in found]


def _survey_table(name: str, found: dict[str, Any]) -> None:
    columns = ("", "parameters", "jorip counts", "MACs", "jorip counts ")
    words = {"self_attention": ("self-attention", "4D²", "4TD²+2T²D"), "feed_forward": ("feed-forward", "8D²", "8TD²")}
    rows = []
    for part, (word, p, m) in words.items():
        r = found[part]
        rows.append((
            word, f"{p} = {r['parameters']:,}", r.get("counted_parameters"),
            f"{m} = {r['macs']:,}", r.get("counted_macs"),
        ))  # fmt: skip
    D, T = found["d_model"], found["length"]
    table(
        f"{name}: the survey's Table 1, a layer, one sequence, no biases (D = {D}, T = {T})", columns, rows, columns[1:]
    )
    larger = found["dominates"].replace("_", "-")
    write(f"With a vanilla layer of this width, the {larger} dominates at T = {T}. They cross at:")
    for what, at in found["crossover_lengths"].items():
        write(f"  T = {at:<8,} {what}")
