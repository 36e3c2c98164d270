"""One run of a comparison, in a process of its own: `python -m jorip.compare.child FOLDER LABEL SEED [--plugin FILE]`.

Trains into FOLDER/LABEL/seed-N, an ordinary run folder, scores the best checkpoint on every test set, and leaves
`measures.json` there, which says that the run is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from jorip.architectures.base import from_dict
from jorip.compare.measure import peak_of_a_step
from jorip.compare.plan import FILE, Plan, Planned
from jorip.core import plugin
from jorip.core.errors import CheckpointError, JoripError, NonFiniteError, ResourceError
from jorip.core.process_memory import largest_resident
from jorip.core.spec import Spec, flatten
from jorip.tasks.config import run_config
from jorip.training.atomic import replace_json
from jorip.training.events import plain, read_events
from jorip.training.memory import out_of_memory

MEASURES = "measures.json"


def run_folder(folder: Path, variant: Planned, seed: int) -> Path:
    return folder / variant.folder / f"seed-{seed}"


def since_changed(now: Spec, variant: Planned) -> dict[str, Any]:
    """path -> planned value of fields that the plan left to their defaults, where this version of jorip has others;
    nothing where the models differ in more than values, or in what the data decide."""
    before, after = flatten(from_dict(variant.spec)), flatten(now)
    if before.keys() != after.keys():
        return {}
    found = {path: value for path, value in before.items() if value != after[path]}
    of_data = {"vocab_size", "readout"}
    return {} if any(of_data & set(path.split(".")) for path in found) else found


def train_one(folder: Path, variant: Planned, seed: int) -> dict[str, Any]:
    """Trains, or goes on where it stopped; the measures, which are also written. A loss that is no number, or too
    little memory, is a measure too: `failed` says it."""
    from jorip.tasks.run import prepare
    from jorip.training.start import train

    path = run_folder(folder, variant, seed)
    config = run_config(variant.config | {"training": variant.config["training"] | {"seed": seed}}, variant.label)
    task = prepare(config)
    if pinned := since_changed(task.model.spec, variant):
        config = config.model_copy(
            update={"model": config.model.model_copy(update={"override": config.model.override | pinned})}
        )
        task = prepare(config)
    if task.model.spec.to_dict() != variant.spec:
        raise CheckpointError(
            f"{variant.label}: the data give another model than when the comparison was planned: they have changed, "
            "or the version of jorip has: compare into a new folder"
        )
    measures: dict[str, Any] = {"variant": variant.label, "seed": seed, "fingerprint": task.fingerprint}
    measures["order"] = hashlib.sha256(json.dumps(task.plan(0)).encode()).hexdigest()
    try:
        import torch

        torch.set_num_threads(config.training.threads or torch.get_num_threads())
        measures["peak_bytes"] = peak_of_a_step(task)
        used = [p.record() for p in plugin.loaded()]
        recipe = config.model_dump(mode="json", exclude={"training"}) | ({"plugins": used} if used else {})
        result = train(task, config.training, path, recipe=recipe)
        measures |= {"steps": result.step, "tokens": result.tokens, "seconds": result.seconds, "ended": result.reason}
        measures |= learnt(path) | {"resident_bytes": largest_resident()}
        measures["test"] = scored(path)
    except (JoripError, RuntimeError, MemoryError) as e:
        if not is_result(e):
            raise
        measures["failed"] = str(e).splitlines()[0] if str(e) else "out of memory"
    path.mkdir(parents=True, exist_ok=True)
    replace_json(path / MEASURES, plain(measures))
    return measures


def is_result(e: BaseException) -> bool:
    """Whether an error says something of the variant: it diverged, or needs more memory than there is. A full disk and
    all else do not."""
    full = isinstance(e, ResourceError) and str(e).startswith("out of memory")
    return isinstance(e, NonFiniteError) or full or out_of_memory(e)


def learnt(path: Path) -> dict[str, Any]:
    """From the run's events: seconds and tokens of steps alone, and what validation said."""
    events = read_events(path)
    steps = [e for e in events if e["kind"] == "train"]
    tokens = [e["tokens"] for e in steps]
    new = [b - a for a, b in zip([0, *tokens], tokens)]
    seconds = sum(n / e["tokens_per_second"] for n, e in zip(new, steps) if e["tokens_per_second"])
    evaluations = [e for e in events if e["kind"] == "evaluation"]
    best = next((e for e in reversed(evaluations) if e["best"]), evaluations[-1])
    return {
        "training_seconds": seconds,
        "tokens_per_second": sum(new) / max(seconds, 1e-9),
        "validation": best["metrics"],
        "best_step": best["step"],
        "curve": [[e["step"], e["metrics"]] for e in evaluations],
    }


def scored(path: Path) -> dict[str, Any]:
    """test set -> scores of the best checkpoint."""
    from jorip.report.scores import keep_scores
    from jorip.tasks.run import open_run

    opened = open_run(path)
    scores = {}
    for name in opened.task.config.data.test:
        scores[name] = opened.evaluate(name)
        keep_scores(path, name, scores[name])
    return scores


def follow(parent: int) -> None:
    """Stops this process, which then saves, when the one that began it is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    if os.name == "posix":
        threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str]) -> int:
    """The exit code, as the command line's."""
    folder, label, seed, files = Path(arguments[0]), arguments[1], int(arguments[2]), arguments[4::2]
    follow(os.getppid())
    try:
        for file in files:
            plugin.load(file)
        plan = Plan.read(folder / FILE)
        train_one(folder, next(v for v in plan.variants if v.label == label), seed)
    except JoripError as e:
        print(f"error: {e}", file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
