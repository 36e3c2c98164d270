"""One shipped run with several seeds; its test scores with mean and interval.

    python benchmarks/seeds.py nsmc --seeds 3 [--runs runs] [key=value ...]

Runs go to runs/RECIPE-SEED and go on where they stopped. Writes results/RECIPE.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import keep, machine, mean_interval
from rich.console import Console

from jorip.tasks.config import load_config
from jorip.tasks.run import open_run, prepare
from jorip.training.start import train


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("recipe")
    args.add_argument("overrides", nargs="*")
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args.add_argument("--runs", type=Path, default=Path("runs"))
    given = args.parse_intermixed_args()
    rows = []
    for seed in given.seeds:
        config = load_config(given.recipe, [*given.overrides, f"training.seed={seed}"])
        task = prepare(config)
        folder = given.runs / f"{given.recipe}-{seed}"
        result = train(task, config.training, folder, Console(force_terminal=False, width=140))
        opened = open_run(folder)
        scores = {split: opened.evaluate(split) for split in config.data.test or ["val"]}
        rows.append({"seed": seed, "steps": result.step, "minutes": result.seconds / 60, "best": result.best,
                     "parameters": sum(p.numel() for p in task.model.parameters()), "scores": scores})  # fmt: skip
        print(rows[-1], flush=True)
        keep(given.recipe, {"machine": machine(), "overrides": given.overrides, "rows": rows})
    for split, first in rows[0]["scores"].items():
        for metric, value in first.items():
            if isinstance(value, float):
                mean, half = mean_interval([r["scores"][split][metric] for r in rows])
                each = ", ".join(f"{r['scores'][split][metric]:.4f}" for r in rows)
                print(f"{split} {metric}: {mean:.4f} ± {half:.4f}  ({each})")


if __name__ == "__main__":
    main()
