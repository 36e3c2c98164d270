"""Nine ways to mix tokens under equal training time, in the small setting of Long Range Arena's re-implementations
(2 layers, width 64): what `jorip compare` finds.

    python benchmarks/attention_compare.py [listops recall listops-long bytes] [--minutes 15] [--runs runs/compare]

Three seeds on listops and recall, one on the other two. Goes on where it stopped; `--plan` prints what would be
trained, and a path to a stored run.json instead of a task's name repeats that comparison. Writes
results/compare-TASK.json, results/compare-TASK.run.json (which repeats it) and docs/figures/compare-TASK.{png,svg}, and
prints Markdown.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from common import RESULTS, keep, machine

from jorip.compare.interval import Interval
from jorip.compare.plan import FILE
from jorip.compare.results import Comparison
from jorip.compare.run import planned, run
from jorip.tasks.config import load_config

HERE = Path(__file__).parent
VARIANTS = {"recall": HERE / "attention_variants_recall.yaml"}  # by task; others: attention_variants.yaml
SEEDS = {"listops": 3, "recall": 3, "listops-long": 1, "bytes": 1}
# Long Range Arena's own accuracies, percent (README of google-research/long-range-arena, 8 November 2020): larger
# models, other lengths and budgets, so that only the order can be compared
ARENA = {
    "listops": {"full": 36.37, "band": 15.82, "Longformer": 35.63, "BigBird": 36.05, "Sparse Transformer": 17.07,
                "Linear": 16.13, "Performer": 18.01},
    "bytes": {"full": 64.27, "band": 52.98, "Longformer": 62.85, "BigBird": 64.02, "Sparse Transformer": 63.58,
              "Linear": 65.90, "Performer": 65.40},
}  # fmt: skip
ARENA["listops-long"] = ARENA["listops"]


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("tasks", nargs="*", default=list(SEEDS))
    args.add_argument("--minutes", type=float, default=15)
    args.add_argument("--runs", type=Path, default=Path("runs/compare"))
    args.add_argument("--plan", action="store_true")
    args.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides for all variants")
    given = args.parse_args()
    for task in given.tasks:
        if Path(task).suffix == ".json":
            show(run(task))
            continue
        asked = {
            "variants": VARIANTS.get(task, HERE / "attention_variants.yaml"),
            "budget": {"minutes": given.minutes},
            "seeds": SEEDS.get(task, 3),
        }
        if given.plan:
            for v in planned(task, load_config(task, given.set), given.runs / task, **asked).variants:
                print(f"{v.label:<20}{v.parameters:>10,} parameters{v.steps:>8,} steps of {v.seconds_per_step:.3f} s")
            continue
        found = run(task, overrides=given.set, out=given.runs / task, **asked)
        show(found)
        store(task, found)


def show(found: Comparison) -> None:
    """As Markdown, with Long Range Arena's number where it has one."""
    arena = ARENA.get(found.plan.recipe, {})
    splits = "".join(f" {found.metric}, {s} |" for s in found.splits)
    print(f"\n{found.plan.recipe}, {found.plan.budget} a run, {len(found.plan.seeds)} seeds; {machine()}\n")
    print(f"| variant |{splits} LRA, % | steps | tokens/s | peak MiB | minutes | parameters |")
    print("| --- |" + " --- |" * (len(found.splits) + 6))
    for r in found.rows:
        quality = [r.quality[s].text() if s in r.quality else "failed" for s in found.splits]
        cells = [r.label, *quality, arena.get(r.label, ""), f"{r.steps:,}", mean(r.tokens_per_second, "{:,.0f}")]
        cells += [mean(r.peak_bytes, "{:.0f}", 2**-20), mean(r.training_minutes, "{:.1f}"), f"{r.parameters:,}"]
        print("| " + " | ".join(map(str, cells)) + " |")
    for note in found.notes:
        print(f"\n{note}")


def mean(value: Interval | None, form: str, scale: float = 1.0) -> str:
    return "" if value is None else form.format(value.mean * scale)


def store(task: str, found: Comparison) -> None:
    """What is published: the numbers, what repeats them, the pictures."""
    keep(f"compare-{task}", found.as_dict() | {"folder": f"runs/compare/{task}"})  # wherever it was
    shutil.copyfile(found.folder / FILE, RESULTS / f"compare-{task}.run.json")
    figures = HERE.parent / "docs" / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for end in ("png", "svg"):
        shutil.copyfile(found.folder / f"chart.{end}", figures / f"compare-{task}.{end}")


if __name__ == "__main__":
    main()
