"""`jorip cost`: what a model costs, part by part, before anything is trained."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from jorip.cli.console import facts, table, write, write_json
from jorip.cli.options import Json, SpecOverrides, Target

NAME = "cost"
_LAYER = re.compile(r"layers\.(\d+)\.")
COLUMNS = ("parameters", "linear_macs", "mixing_macs", "flops", "activation_bytes", "state_bytes", "sequential")
CURVE = {
    "length": "tokens", "flops": "FLOPs", "attention_flops": "attention", "feed_forward_flops": "feed-forward",
    "other_flops": "rest", "full_attention_flops": "if full", "activation_bytes": "activations",
    "peak_inference_bytes": "inference", "peak_training_bytes": "training", "state_bytes": "state",
    "path_length": "path",
}  # fmt: skip
WIDTHS = {"fp32": 4, "bf16": 2}


def command(
    spec: Target,
    overrides: SpecOverrides = None,
    batch: Annotated[int, typer.Option(min=1, help="Sequences at once.")] = 1,
    length: Annotated[
        str,
        typer.Option(
            metavar="N or FROM:TO",
            help="Tokens of each sequence (of the target, in translation); 512:65536 draws curves over powers of two.",
        ),
    ] = "512",
    memory: Annotated[
        int | None, typer.Option(min=1, help="Tokens of the source, in translation (default: as --length).")
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="Of weights, activations and decoding state: 4 or 2 bytes each.")
    ] = "fp32",
    out: Annotated[
        Path | None, typer.Option(help="Where the curves' picture goes, .svg or .png (default: runs/cost-SPEC.svg).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Count what a model costs, part by part.

    Parameters, operations and memory, compared with the survey's Tables 1 and 2. MACs are multiply-accumulates of one
    forward pass (1 MAC = 2 FLOPs): linear against weights, mixing between tokens. Activations are what training keeps
    for the backward pass, state is what decoding keeps. With --length FROM:TO the same over lengths, drawn.
    """
    from jorip.cli.cost_curve import lengths
    from jorip.cli.specs import find_spec
    from jorip.core.errors import ConfigError

    found = lengths(length)
    if out is not None and len(found) == 1:
        raise ConfigError("--out is for curves: give a range of lengths, such as --length 512:65536")
    model, asked = find_spec(spec, overrides), {"batch": batch, "memory": memory, "precision": precision}
    if len(found) > 1:
        show_curve(spec, model, found, asked, out, as_json)
    else:
        show_parts(spec, model, found[0], asked, as_json)


def show_parts(name: str, model, length: int, asked: dict[str, Any], as_json: bool) -> None:
    """One length: a row per part, totals, the survey's tables."""
    from jorip.cli.table1 import compare
    from jorip.cli.table2 import layer_types
    from jorip.core.cost import Shape

    batch, memory, width = asked["batch"], asked["memory"], WIDTHS[asked["precision"]]
    tree = model.cost(Shape(batch, length, memory or 0))
    rows = part_rows(tree, width)
    total, survey = total_row(tree, rows, width), compare(model, tree)
    types = layer_types(model.site(), length)
    if as_json:
        shape = {"batch": batch, "length": length, "memory": memory, "precision": asked["precision"]}
        write_json({
            "spec": name, "shape": shape, "parts": rows, "total": total,
            "survey_table_1": survey, "survey_table_2": types,
        })  # fmt: skip
        return
    heads = tuple(c.replace("_bytes", "s").replace("states", "state").replace("_", " ") for c in COLUMNS)
    table(
        f"{name}: batch {batch}, length {length}, {asked['precision']}",
        ("part", *heads),
        [(r["path"], *(size(r[c]) if c.endswith("_bytes") else r[c] for c in COLUMNS)) for r in together(rows)],
        right=heads,
    )
    facts("in all", {
        "parameters": f"{total['parameters']:,}  ({size(total['parameters_bytes'])}, as much again for gradients, "
        f"{size(total['optimizer_bytes'])} for AdamW)",
        "FLOPs": f"{total['flops']:,} forward, {total['training_flops']:,} in training (three times as many)",
        "activations": f"{size(total['activation_bytes'])} kept by training",
        "decoding state": size(total["state_bytes"]),
        "most at once": f"{size(total['peak_inference_bytes'])} in inference, {size(total['peak_training_bytes'])} in "
        "training without the optimizer",
        "sequential operations": total["sequential"],
        "longest path": total["path_length"],
    })  # fmt: skip
    for stack, found in survey.items():
        _survey_table(stack, found)
    _types_table(types, model.site().d_model, length)


def show_curve(name: str, model, found: list[int], asked: dict[str, Any], out: Path | None, as_json: bool) -> None:
    """Several lengths: a row each, where curves cross, and a picture."""
    from jorip.cli.cost_curve import crossings, curve, draw
    from jorip.cli.folders import RUNS

    batch, memory = asked["batch"], asked["memory"]
    out = RUNS / f"cost-{Path(name).stem}.svg" if out is None else out
    rows = curve(model, found, batch, memory, WIDTHS[asked["precision"]])
    crossed = crossings(model, rows, batch, memory)
    draw(f"{name}: batch {batch}, {asked['precision']}", rows, crossed, out)
    if as_json:
        shape = {"lengths": found, **asked}
        write_json({"spec": name, "shape": shape, "curve": rows, "crossings": crossed, "picture": str(out)})
        return
    columns = [c for c in CURVE if c in rows[0]]
    heads = [CURVE[c] for c in columns]
    cells = [[size(r[c]) if c.endswith("_bytes") else _short(r[c]) for c in columns] for r in rows]
    table(f"{name}: batch {batch}, {asked['precision']}", heads, cells, right=heads)
    for c in crossed:
        write(f"  T = {c['length']:<8,} {c['meaning']}")
    limits = {side.max_len for side in (model, *vars(model).values()) if getattr(side, "max_len", None)}
    if limits and max(found) > min(limits):
        write(f"Inputs longer than max_len = {min(limits):,} are refused by the model itself.")
    write(f"curves: {out}")


def part_rows(tree, width: int) -> list[dict[str, Any]]:
    """One row per part, in the model's order."""
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
            "activation_bytes": cost.kept(width),
            "state_bytes": cost.state * width,
            "sequential": cost.sequential,
            "path_length": cost.path,
        }
        for path in dict.fromkeys([*tree.parts, *parameters])
    ]


def total_row(tree, rows: list[dict[str, Any]], width: int) -> dict[str, Any]:
    """Sums over all parts; parameters are the model's, shared ones once; path_length is the stack's."""
    names = [n for n in rows[0] if n not in ("path", "path_length")]
    memory = tree.memory(width)
    return {
        "path": "total",
        **{n: sum(r[n] for r in rows) for n in names},
        "parameters": tree.total_parameters,
        "path_length": tree.path,
        "training_flops": 3 * tree.total.flops,
        "parameters_bytes": memory.parameters,
        "optimizer_bytes": memory.optimizer,
        "peak_inference_bytes": memory.inference,
        "peak_training_bytes": memory.training,
    }


def size(count: float) -> str:
    """Bytes for people: three digits and a unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:,.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.3g} {unit}"


def _short(count: int) -> str:
    """4,096, but 1.07e+09."""
    return f"{count:,}" if count < 10**6 else f"{count:.3g}"


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


def _types_table(types: list[dict[str, Any]], D: int, T: int) -> None:
    columns = ("layer", "complexity", "operations", "jorip's MACs", "sequential", "jorip's", "longest path", "jorip's ")
    rows = [
        (r["layer"], f"O({r['complexity']})", r["operations"], r["macs"], r["sequential_order"], r["sequential"],
         r["path_order"], r["path_length"])
        for r in types
    ]  # fmt: skip
    table(f"the survey's Table 2, a causal layer, one sequence (D = {D}, T = {T}, K = 3)", columns, rows, columns[2:])
