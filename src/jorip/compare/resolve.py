"""From a recipe and variants to a plan: every model composed, everything else locked, budgets made equal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from jorip.architectures.base import Architecture
from jorip.compare.budget import Budget
from jorip.compare.measure import Sizes, flops_per_token, state_bytes, try_out
from jorip.compare.pace import seconds_per_step
from jorip.compare.plan import Plan, Planned
from jorip.compare.variants import ENDS, Variant
from jorip.core.errors import ConfigError
from jorip.core.spec import flatten
from jorip.tasks.base import Task
from jorip.tasks.config import RunConfig, run_config

EVALUATIONS = 10  # of each run, evenly spread, so that each has as many chances of a best checkpoint
UNLIKE = 0.05  # parameter counts that differ by more than this share are pointed out
_ABSENT = "-"
_LAYER = re.compile(r"layers\.\d+\.")


def locked(config: RunConfig, budget: Budget) -> dict[str, Any]:
    """The recipe's tree with all that could end runs at different places taken out, and what would be measured when a
    run begins (precision, threads) set, so that it is the same for all."""
    tree = config.model_dump(mode="json")
    training = tree["training"]
    training |= dict.fromkeys(ENDS) | {"seed": 0, "threads": training["threads"] or torch.get_num_threads()}
    if training["precision"] == "auto":
        training["precision"] = "fp32"
    training |= {"steps": int(budget.amount)} if budget.kind == "steps" else {"steps": 1}
    return tree


def resolve(
    name: str, config: RunConfig, variants: Sequence[Variant], budget: Budget, seeds: int, unequal: bool, say: Any
) -> Plan:
    """Raises ConfigError: unequal budgets, variants that cannot be composed (all of them, with the reasons), fields
    that differ though nobody varied them."""
    numbers = numbered(seeds)
    refuse_unequal(variants, budget, unequal)
    tree = locked(config, budget)
    asked = request(tree, variants, budget, unequal)
    from jorip.tasks.run import prepare

    say("reading the data once, to plan; each run reads it again in a process of its own")
    task = prepare(run_config(tree, name))
    specs = compose(task, variants)
    differs = differences(specs, variants)
    sizes = Sizes.of(task)
    steps_tokens = sizes.tokens_per_step
    flops = [flops_per_token(s, sizes) for s in specs]
    torch.set_num_threads(tree["training"]["threads"])
    try_out(task, specs, [v.label for v in variants])
    paces = [None] * len(specs)
    if budget.kind == "minutes":
        say("measuring the time of a step for each variant in turn")
        paces = seconds_per_step(task, specs)
    planned = []
    for variant, spec, f, pace in zip(variants, specs, flops, paces):
        steps = budget.steps(f * steps_tokens, pace)
        planned.append(
            Planned(
                label=variant.label,
                folder=variant.folder,
                changes={**variant.changes, **{f"training.{k}": v for k, v in variant.ends.items()}},
                config=finished(tree, variant, steps, name),
                spec=spec.to_dict(),
                parameters=sum(p.numel() for p in spec.build(device="meta").parameters()),
                flops_per_token=f,
                state_bytes=state_bytes(spec, sizes),
                steps=steps,
                seconds_per_step=pace,
            )
        )
    return Plan(name, asked, numbers, planned, differs, notes(planned, seeds))


def request(tree: dict[str, Any], variants: Sequence[Variant], budget: Budget, unequal: bool) -> dict[str, Any]:
    """What a continued comparison must ask for again."""
    return {
        "config": tree,
        "variants": {v.label: {**v.changes, **{f"training.{k}": x for k, x in v.ends.items()}} for v in variants},
        "budget": {budget.kind: budget.amount},
        "unequal": unequal,
    }


def refuse_unequal(variants: Sequence[Variant], budget: Budget, unequal: bool) -> None:
    """Raises ConfigError for the first variant that would end at another place than the others."""
    for v in variants:
        own = {k: x for k, x in v.ends.items() if (budget.kind, budget.amount) != (k, x)}
        if own and not unequal:
            ((key, value), *_) = own.items()
            raise ConfigError(
                f"variant {v.label!r} sets training.{key}={value}, and the budget of all is {budget}: leave it out, or "
                "pass --unequal to compare runs that cost differently"
            )


def finished(tree: dict[str, Any], variant: Variant, steps: int, name: str) -> dict[str, Any]:
    """The whole configuration of a variant."""
    override = dict(tree["model"]["override"])
    for path, value in variant.changes.items():
        override.pop(path, None)  # what a variant sets is set last
        override[path] = value
    ends = {"steps": steps, **({"steps": None, **variant.ends} if variant.ends else {})}
    every = max(1, -(-steps // EVALUATIONS)) if not variant.ends else tree["training"]["evaluate_every"]
    made = tree | {
        "model": tree["model"] | {"override": override},
        "training": tree["training"] | ends | {"evaluate_every": every, "save_every": every},
    }
    return run_config(made, f"{name}: {variant.label}").model_dump(mode="json")


def compose(task: Task, variants: Sequence[Variant]) -> list[Architecture]:
    """The model of each variant. Raises ConfigError that lists all that are refused, each with its reason."""
    specs, refused = [], []
    for v in variants:
        try:
            spec = task.model.spec.override(dict(v.changes))
            spec.build(device="meta")
            specs.append(spec)
        except ConfigError as e:
            refused.append(f"  {v.label}: {e}")
    if refused:
        raise ConfigError(
            f"{len(refused)} of {len(variants)} variants cannot be composed; nothing was trained:\n"
            + "\n".join(refused)
        )
    return specs


def differences(specs: Sequence[Architecture], variants: Sequence[Variant]) -> dict[str, list[Any]]:
    """path -> the variants' values, for all resolved fields that are not the same in all. Raises ConfigError for one
    that does not follow from what is varied, and for two variants that are the same model."""
    flat = [{"": s.kind} | flatten(s, unrolled=True) for s in specs]
    found: dict[str, list[Any]] = {}
    for path in dict.fromkeys(p for f in flat for p in f):
        values = [f.get(path, _ABSENT) for f in flat]
        if any(v != values[0] for v in values):
            found[path] = [v if isinstance(v, str | int | float | bool | None) else str(v) for v in values]
    varied = {path for v in variants for path in v.changes}
    if loose := [p for p in found if not any(follows(p, path) for path in varied)]:
        raise ConfigError(
            f"the variants also differ in {', '.join(loose)}, which nobody varied: this is not comparable"
        )
    for i, spec in enumerate(specs):
        if spec in specs[:i] and variants[i].ends == variants[specs.index(spec)].ends:
            other = variants[specs.index(spec)].label
            raise ConfigError(f"variants {other!r} and {variants[i].label!r} are the same model: leave one out")
    return together(found)


def together(found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """What is the same in several layers once, as `layer.x`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for path, values in found.items():
        groups.setdefault((_LAYER.sub("layer.", path), repr(values)), []).append(path)
    return {name if len(paths) > 1 else paths[0]: found[paths[0]] for (name, _), paths in groups.items()}


def follows(path: str, varied: str) -> bool:
    """Whether a resolved field is the varied one, or lies below it; `layer.x` is in every layer, `**.x` anywhere."""
    steps, wanted = path.split("."), varied.split(".")
    if wanted[0] == "**":
        return wanted[-1] in steps
    if wanted[-1] in ("n_layers", "layer") and "layers" in steps:
        return True
    for i, step in enumerate(wanted):
        if step == "layer" and "layers" in steps:
            at = steps.index("layers")
            return steps[:at] == wanted[:i] and follows_plainly(steps[at + 2 :], wanted[i + 1 :])
    return follows_plainly(steps, wanted)


def follows_plainly(steps: list[str], wanted: list[str]) -> bool:
    return steps[: len(wanted)] == wanted


def numbered(seeds: int) -> list[int]:
    """0, 1 ...; ConfigError for none."""
    if seeds < 1:
        raise ConfigError(f"at least one seed is needed, found {seeds}: three or more give an interval")
    return list(range(seeds))


def reseed(plan: Plan, seeds: int | None) -> Plan:
    """The plan with so many seeds, and what there is to say about that; None = as it is."""
    if seeds is not None:
        plan.seeds, plan.notes = numbered(seeds), notes(plan.variants, seeds)
    return plan


def notes(planned: Sequence[Planned], seeds: int) -> list[str]:
    """What a reader should know about the comparison itself."""
    found = []
    least, most = (pick(planned, key=lambda v: v.parameters) for pick in (min, max))
    if most.parameters > (1 + UNLIKE) * least.parameters:
        found.append(
            f"parameters differ by {most.parameters / least.parameters - 1:.0%}: {least.label} has "
            f"{least.parameters:,}, {most.label} {most.parameters:,}: part of any difference may be due to size"
        )
    for v in planned:
        if 2 * (warmup := v.config["training"]["schedule"]["warmup"]) > v.steps:
            found.append(f"{v.label}: {warmup} of its {v.steps} steps are warm-up: lower training.schedule.warmup")
    if seeds < 3:
        found.append(f"{seeds} seed{'s' * (seeds > 1)}: three or more are needed to tell a difference from chance")
    return found
