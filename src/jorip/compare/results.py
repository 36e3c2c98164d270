"""What came of a comparison: the measures of all runs, by variant, with intervals over the seeds."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jorip.compare.child import MEASURES, run_folder
from jorip.compare.interval import Interval, interval
from jorip.compare.plan import Plan
from jorip.core.errors import CheckpointError, ConfigError
from jorip.tasks.registry import task_class

RESULTS = "results.json"


@dataclass
class Row:
    """One variant. quality: the chosen metric by split (`validation`, and each test set), of the best checkpoint on
    validation; the others as their names say, means over the seeds; failed: seed -> why."""

    label: str
    parameters: int
    steps: int
    flops_per_token: float
    state_bytes: int | None
    quality: dict[str, Interval]
    tokens_per_second: Interval | None
    peak_bytes: Interval | None
    training_minutes: Interval | None
    runs: list[dict[str, Any]]
    failed: dict[int, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        plain = {k: v for k, v in vars(self).items() if k not in ("quality", "runs")}
        plain = {k: v._asdict() if isinstance(v, Interval) else v for k, v in plain.items()}
        return plain | {"quality": {k: v._asdict() for k, v in self.quality.items()}, "runs": self.runs}


@dataclass
class Comparison:
    """rows by variant, in the order asked for; metric and direction ("max" or "min") of quality; folder: where all of
    it lies; reproduction: what differs from the results that were repeated, None where nothing was repeated."""

    folder: Path
    plan: Plan
    metric: str
    direction: str
    rows: list[Row]
    notes: list[str]
    reproduction: dict[str, Any] | None = None

    def __getitem__(self, label: str) -> Row:
        return next(r for r in self.rows if r.label == label)

    @property
    def splits(self) -> list[str]:
        return list(dict.fromkeys(s for r in self.rows for s in r.quality))

    def as_dict(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder), "recipe": self.plan.recipe, "budget": self.plan.asked["budget"],
            "seeds": self.plan.seeds, "metric": self.metric, "direction": self.direction,
            "differs": self.plan.differs, "notes": self.notes, "reproduction": self.reproduction,
            "variants": [r.as_dict() for r in self.rows],
            "versions": self.plan.versions, "hardware": self.plan.hardware,
        }  # fmt: skip


def read_measures(folder: Path, plan: Plan) -> list[dict[str, Any]]:
    """Of the runs that are done, in order. Raises CheckpointError for a damaged file."""
    found = []
    for variant, seed in plan.runs():
        path = run_folder(folder, variant, seed) / MEASURES
        if path.is_file():
            try:
                found.append(dict(json.loads(path.read_text(encoding="utf-8"))))
            except (ValueError, TypeError) as e:
                raise CheckpointError(f"{path}: damaged ({e}): delete it, and the run is measured again") from None
    return found


def collect(folder: Path, plan: Plan) -> Comparison:
    """From the files of the runs. Raises ConfigError where runs were not under the same conditions after all."""
    measures = read_measures(folder, plan)
    refuse_unlike(measures)
    config = plan.variants[0].config
    metric = config["evaluation"]["metric"]
    direction = task_class(config["task"]).metrics[metric]
    rows = []
    for v in plan.variants:
        runs = [m for m in measures if m["variant"] == v.label]
        done = [m for m in runs if "failed" not in m]
        splits = ["validation", *dict.fromkeys(s for m in done for s in m["test"])]
        values = {s: [_score(m, s, metric) for m in done] for s in splits}
        rows.append(
            Row(
                label=v.label, parameters=v.parameters, steps=v.steps, flops_per_token=v.flops_per_token,
                state_bytes=v.state_bytes,
                quality={s: i for s, x in values.items() if (i := interval([n for n in x if n is not None]))},
                tokens_per_second=interval([m["tokens_per_second"] for m in done]),
                peak_bytes=interval([m["peak_bytes"] for m in done if m["peak_bytes"] is not None]),
                training_minutes=interval([m["training_seconds"] / 60 for m in done]),
                runs=runs, failed={m["seed"]: m["failed"] for m in runs if "failed" in m},
            )
        )  # fmt: skip
    return Comparison(folder, plan, metric, direction, rows, [*plan.notes, *late(plan, rows), *failures(rows)])


def _score(measures: dict[str, Any], split: str, metric: str) -> float | None:
    found = (measures["validation"] if split == "validation" else measures["test"][split]).get(metric)
    return float(found) if isinstance(found, int | float) else None


def refuse_unlike(measures: list[dict[str, Any]]) -> None:
    """Raises ConfigError when data, tokenizer or the order of batches were not the same in all runs."""
    for what, key in (("training data or tokenizer", "fingerprint"), ("the order of batches", "order")):
        by_seed: dict[Any, dict[str, str]] = {}
        for m in measures:
            by_seed.setdefault(m["seed"] if key == "order" else 0, {}).setdefault(
                m[key], f"{m['variant']}, seed {m['seed']}"
            )
        for found in by_seed.values():
            if len(found) > 1:
                one, other, *_ = found.values()
                raise ConfigError(
                    f"{what} changed between the runs {one!r} and {other!r}: compare into a new folder, from files "
                    "that stay as they are"
                )


def late(plan: Plan, rows: list[Row]) -> list[str]:
    """Variants whose training took another time than the budget said: the machine was busier, or less."""
    if "minutes" not in plan.asked["budget"]:
        return []
    wanted = plan.asked["budget"]["minutes"]
    found = [r for r in rows if r.training_minutes and abs(r.training_minutes.mean / wanted - 1) > 0.1]
    return [
        f"{r.label} trained for {r.training_minutes.mean:.3g} minutes, not {wanted:g}: the machine's pace has changed"
        for r in found
        if r.training_minutes
    ]


def failures(rows: list[Row]) -> list[str]:
    return [f"{r.label}, seed {seed}: {why}" for r in rows for seed, why in r.failed.items()]
