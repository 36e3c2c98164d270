"""`jorip.compare(...)`: plans, trains what is missing, each run in a fresh process, and writes what came of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jorip.compare.budget import Budget
from jorip.compare.child import MEASURES, run_folder
from jorip.compare.plan import FILE, Plan, Planned, is_plan
from jorip.compare.reproduce import compared
from jorip.compare.resolve import locked, request, reseed, resolve
from jorip.compare.results import RESULTS, Comparison, collect
from jorip.compare.variants import variants as variants_of
from jorip.compare.write import write
from jorip.core import plugin
from jorip.core.errors import ConfigError, Interrupted, JoripError, ResourceError
from jorip.tasks.config import RunConfig, load_config
from jorip.training.run import differences
from jorip.training.signals import Signals

RUNS = Path("runs") / "compare"
SEEDS = 3  # give an interval
_POLL = 0.1  # seconds between looks at the process that trains
_CODES = {cls.exit_code: cls for cls in JoripError.__subclasses__()}

Launch = Callable[[Path, Planned, int], None]


def run(
    recipe: str | Path | RunConfig,
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    variants: Mapping[str, Any] | str | Path | None = None,
    overrides: Sequence[str] = (),
    budget: Any = None,
    seeds: int | None = None,
    out: str | Path | None = None,
    unequal: bool = False,
    say: Callable[[str], None] = print,
    launch: Launch | None = None,
) -> Comparison:
    """Trains every variant with every seed under an equal budget, and measures.

    recipe: a shipped run, a YAML file, a configuration, or the run.json of an earlier comparison, which is then
    repeated (`vary`, `variants`, `overrides` and `budget` are in it). vary: path of the model -> values. variants: a
    mapping, or a YAML file with one, name -> {path: value}. budget: `steps=1000`, `flops=1e15` or `minutes=15` of each
    run. seeds: runs of each variant; None = three, or to repeat as many as there were. out: the folder, which also goes
    on with an interrupted comparison. unequal: variants may set training.steps, epochs, minutes or patience of their
    own. say: notices. launch: how a run is run; a process each.

    Raises ConfigError (nothing to compare, wrong paths or values, models that cannot be composed, unequal budgets,
    another comparison in this folder), what training raises, Interrupted.
    """
    if is_plan(str(recipe)):
        if vary or variants or overrides or budget is not None or unequal:
            raise ConfigError(
                f"{recipe}: says itself what is varied and under which budget: give --seeds and --out and nothing else"
            )
        file = Path(str(recipe))
        before, again = original(file)
        folder = Path(out) if out is not None else again
        plan = reseed(repeated(file, folder, say), seeds)
        return finish(folder, plan, say, launch, repeats=None if folder == file.parent else before)
    config = recipe if isinstance(recipe, RunConfig) else load_config(str(recipe), list(overrides))
    name = config.task if isinstance(recipe, RunConfig) else Path(str(recipe)).stem
    folder = Path(out) if out is not None else RUNS / name
    plan = planned(
        name, config, folder, vary=vary, variants=variants, budget=budget, seeds=seeds, unequal=unequal, say=say
    )
    return finish(folder, plan, say, launch)


def planned(
    name: str,
    config: RunConfig,
    folder: Path,
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    variants: Mapping[str, Any] | str | Path | None = None,
    budget: Any = None,
    seeds: int | None = None,
    unequal: bool = False,
    say: Callable[[str], None] = print,
) -> Plan:
    """The plan that the folder has, or a new one, which is not written yet. ConfigError when the folder has another."""
    if budget is None:
        raise ConfigError("every run needs a budget: give --budget steps=N, flops=F or minutes=M")
    seeds = SEEDS if seeds is None else seeds
    amount, found = Budget.parse(budget), variants_of(dict(vary or {}), variants)
    if not (folder / FILE).is_file():
        return resolve(name, config, found, amount, seeds, unequal, say)
    plan = reseed(Plan.read(folder / FILE), seeds)
    asked = json.loads(json.dumps(request(locked(config, amount), found, amount, unequal)))
    if lines := list(differences(plan.asked, asked)):
        raise ConfigError(
            f"{folder}: holds another comparison, so it cannot go on with this one:\n  " + "\n  ".join(lines)
            + "\nGo back to the first values, or give another --out"
        )  # fmt: skip
    return plan


def original(file: Path) -> tuple[Path | None, Path]:
    """Of a plan that is to be repeated: its results, and where to repeat it when nobody says where. A comparison's own
    folder has `run.json` and `results.json`; what is kept of one elsewhere is NAME.run.json and NAME.json."""
    if file.name == FILE:
        return file.parent / RESULTS, file.parent.with_name(f"{file.parent.name}-again")
    name = file.name.removesuffix(".json").removesuffix(".run")
    return None if f"{name}.json" == file.name else file.with_name(f"{name}.json"), RUNS / f"{name}-again"


def repeated(file: Path, folder: Path, say: Callable[[str], None]) -> Plan:
    """The stored plan, for another folder. ConfigError when that holds another comparison."""
    plan = Plan.read(file)
    for name, before in plan.versions.items():
        now = Plan(plan.recipe, {}, [], [], {}).versions.get(name)
        if now != before:
            say(f"note: {name} was {before} and is {now}: numbers may differ in their last digits, or more")
    if folder != file.parent and (folder / FILE).is_file():
        other = Plan.read(folder / FILE)
        if (other.asked, other.variants) != (plan.asked, plan.variants):
            raise ConfigError(f"{folder}: holds another comparison than {file}: give another --out")
    return plan


def finish(
    folder: Path, plan: Plan, say: Callable[[str], None], launch: Launch | None, repeats: Path | None = None
) -> Comparison:
    """Runs what is missing, then writes results, charts and page."""
    plan.write(folder)
    runs = plan.runs()
    todo = [(v, s) for v, s in runs if not (run_folder(folder, v, s) / MEASURES).is_file()]
    if len(todo) < len(runs):
        say(f"{len(runs) - len(todo)} of {len(runs)} runs are done already")
    for number, (variant, seed) in enumerate(todo, len(runs) - len(todo) + 1):
        say(f"[{number}/{len(runs)}] {variant.label}, seed {seed}: {variant.steps:,} steps")
        (launch or in_a_process)(folder, variant, seed)
    found = collect(folder, plan)
    found.reproduction = compared(repeats, found) if repeats is not None else None
    write(found)
    return found


def in_a_process(folder: Path, variant: Planned, seed: int) -> None:
    """A fresh one, so that memory is that of this run alone. Signals are passed on once: it saves. Raises Interrupted,
    or the kind of error that it ended with."""
    call = [sys.executable, "-X", "utf8", "-m", "jorip.compare.child", str(folder), variant.label, str(seed)]
    call += plugin.arguments()
    # its own session: Ctrl-C in a terminal would reach it twice, and the second time means at once
    with Signals() as signals, subprocess.Popen(call, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        told = False
        while (code := process.poll()) is None:
            time.sleep(_POLL)
            if signals.requested and not told:
                told = True
                process.send_signal(signal.SIGTERM)
    where = f"{variant.label}, seed {seed}"
    if signals.requested or code in (Interrupted.exit_code, -signal.SIGTERM):
        raise Interrupted(f"{folder}: stopped during {where}: run the same command to go on")
    if code < 0:
        why = " (out of memory?)" if code == -9 else ""
        raise ResourceError(f"{where}: was ended by signal {-code}{why}: run the same command to go on")
    if code:
        raise _CODES.get(code, JoripError)(f"{where}: did not finish (exit code {code}); the reason stands above")


def here(folder: Path, variant: Planned, seed: int) -> None:
    """In this process: quick for small models, but peaks of memory are then not those of one run alone."""
    from jorip.compare.child import train_one

    train_one(folder, variant, seed)
