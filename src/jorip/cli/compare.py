"""`jorip compare`: variants of one recipe under the same conditions and an equal budget."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jorip.cli.console import facts, say, table, write, write_json
from jorip.cli.options import Json, Overrides

NAME = "compare"


def command(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="A shipped run, a YAML file, or the run.json of a comparison to repeat."),
    ],
    overrides: Overrides = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH=A,B", help="A field of the model and its values (YAML); several options give their product."
        ),
    ] = None,
    variants: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A YAML file of variants, name: {path of the model: value}.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="KIND=N", help="Of each run: steps=N, flops=F, or minutes=M of training.")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Runs of each variant: intervals need two, three or more are wise (default: 3; to repeat, as many as "
            "there were)."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder (default: runs/compare/RECIPE).")
    ] = None,
    unequal: Annotated[
        bool, typer.Option("--unequal", help="Let variants set training.steps, epochs or minutes of their own.")
    ] = False,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Print what would be done, and stop before anything is trained.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train variants of a recipe under equal conditions and compare them.

    Locked: data, tokenizer, order of batches, initial seeds, optimizer, budget. Measured: quality on validation and
    test with intervals over the seeds, training tokens per second, peak memory, decoding state. The same command goes
    on where it stopped; the folder's run.json, given as RECIPE, repeats it elsewhere.
    """
    from jorip.compare.run import run
    from jorip.compare.variants import read_vary
    from jorip.core.errors import ConfigError

    paths = [read_vary(v) for v in vary or []]
    if twice := next((p for i, (p, _) in enumerate(paths) if p in [q for q, _ in paths[:i]]), None):
        raise ConfigError(f"--vary {twice} is there twice: give all its values in one")
    asked = {"vary": dict(paths), "variants": variants, "budget": budget, "seeds": seeds, "unequal": unequal}
    if plan_only:
        show_plan(recipe, overrides or [], out, asked, as_json)
        return
    found = run(recipe, overrides=overrides or [], out=out, say=say, **asked)
    if as_json:
        write_json(found.as_dict())
        return

    from jorip.compare.write import PAGE, cells, conditions, header, reproduced

    table(f"{found.plan.recipe}: {found.plan.budget} a run", header(found), cells(found), right=header(found)[1:])
    facts("conditions", conditions(found))
    for note in found.notes:
        say(f"note: {note}")
    if found.reproduction is not None:
        write(reproduced(found.reproduction))
    write(str(found.folder / PAGE))


def show_plan(recipe: str, overrides: list[str], out: Path | None, asked: dict[str, Any], as_json: bool) -> None:
    """What would be trained, and what differs."""
    from dataclasses import asdict

    from jorip.compare.plan import Plan, is_plan
    from jorip.compare.resolve import reseed
    from jorip.compare.run import RUNS, planned
    from jorip.tasks.config import load_config

    if is_plan(recipe):
        plan = reseed(Plan.read(Path(recipe)), asked["seeds"])
    else:
        name = Path(recipe).stem
        plan = planned(name, load_config(recipe, overrides), out or RUNS / name, say=say, **asked)
    if as_json:
        write_json(asdict(plan))
        return
    columns = ("variant", "parameters", "kFLOPs/token", "state KiB", "steps", "s/step")
    rows = []
    for v in plan.variants:
        state = None if v.state_bytes is None else v.state_bytes / 1024
        rows.append((v.label, v.parameters, v.flops_per_token / 1e3, state, v.steps, v.seconds_per_step))
    table(f"{plan.recipe}: {plan.budget} a run, {len(plan.runs())} runs", columns, rows, right=columns[1:])
    table("what differs", ("field", *(v.label for v in plan.variants)), [[p, *x] for p, x in plan.differs.items()])
    for note in plan.notes:
        say(f"note: {note}")
