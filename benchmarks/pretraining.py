"""Does pre-training help on little data? NSMC: a small encoder, with and without pre-training on the reviews' texts.

    python benchmarks/pretraining.py pretrain OBJECTIVE [--minutes 40] [--runs runs/pretraining]
    python benchmarks/pretraining.py finetune [--objectives ...] [--labels 1000 5000] [--seeds 5]
    python benchmarks/pretraining.py plot

`pretrain` reads the 60,000 training reviews without their labels (OBJECTIVE: masked, replaced or causal). `finetune`
draws 1,000 and 5,000 labelled reviews for each seed and trains the same model from the pre-trained weights and from
scratch, with the same tokenizer and the same settings to choose from: on each side the setting with the best mean
accuracy on 2,000 validation reviews over two other seeds is taken, and only then the test set is looked at, once.
Character n-grams with logistic regression stand beside (their C chosen in the same way). Results go to
results/pretraining.json and docs/figures/pretraining.{svg,png}.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
from pathlib import Path
from typing import Any

from common import RESULTS, keep, machine, mean_interval
from rich.console import Console

from jorip.tasks.config import RunConfig, run_config
from jorip.tasks.run import open_run, prepare
from jorip.training.start import train

DATA = Path("../shared/data/nsmc")
COLUMNS = {"text": "document", "label": "label"}
MODEL = {"d_model": 192, "n_layers": 3, "n_heads": 4, "**.d_ff": 768, "**.mechanism": {"full": {"dropout": 0.0}}}
TASKS = {"masked": "masked_language_model", "replaced": "replaced_tokens", "causal": "language_model"}
TRIED = {  # by number of labels, for all sides alike; at both ends the last two do equally well
    1000: {"lr": (1e-4, 3e-4, 1e-3, 2e-3, 4e-3), "epochs": (16,), "dropout": (0.1,)},
    5000: {"lr": (3e-4, 1e-3, 2e-3), "epochs": (6,), "dropout": (0.1,)},
}
TUNING = (100, 101)  # seeds that choose a setting and are not reported; with one, a rate that fails on others won
SCRATCH = "from scratch"
SELECTED = 2000  # validation reviews that choose, drawn once: the file's first ones are three quarters praise


def source(path: Path, **more: Any) -> dict[str, Any]:
    return {"path": str(path.resolve()), "columns": COLUMNS, **more}


def pretraining(objective: str, minutes: float, threads: int | None) -> RunConfig:
    """The run of an objective: a schedule for as many steps as fit is not known before, so it falls with 1/sqrt."""
    text = {"text": "document"}
    recipe = "decoder-small" if objective == "causal" else "encoder-small"
    more = {"masked": {"objective": {"rate": 0.3}}, "replaced": {"objective": {"rate": 0.15}}, "causal": {}}[objective]
    tree: dict[str, Any] = {
        "task": TASKS[objective],
        "data": {
            "train": {**source(DATA / "train.tsv.gz"), "columns": text},
            "val": {**source(DATA / "val.tsv.gz"), "columns": text, "limit": 2000},
            "tokens": 8192,
            "window": 128,
        },
        "tokenizer": {"kind": "bpe", "vocab_size": 8000},
        "model": {"recipe": recipe, "override": MODEL | {"**.dropout": 0.1}},
        "training": {
            "minutes": minutes, "threads": threads, "optimizer": {"lr": 2e-3, "weight_decay": 0.05},
            "schedule": {"kind": "inverse_sqrt", "warmup": 300}, "average": 0.999, "evaluate_every": "epoch",
        },
        **more,
    }  # fmt: skip
    return run_config(tree, f"pretrain {objective}")


def drawn(n: int, seed: int, folder: Path, split: str = "train") -> Path:
    """n labelled reviews of a split, drawn by the seed, as a file."""
    path = folder / f"{split}-{n}-{seed}.tsv"
    if not path.is_file():
        with gzip.open(DATA / f"{split}.tsv.gz", "rt", encoding="utf-8") as f:
            head, *lines = f.read().splitlines()
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([head, *random.Random(seed).sample(lines, n)]) + "\n", encoding="utf-8")
    return path


def finetuning(start: Path, n: int, seed: int, setting: dict[str, Any], folder: Path, threads: int | None) -> RunConfig:
    readout = {"classifier": {"pool": "mean", "dropout": setting["dropout"]}}
    tree: dict[str, Any] = {
        "task": "classify",
        "data": {
            "train": source(drawn(n, seed, folder)),
            "val": source(drawn(SELECTED, 0, folder, "val")),
            "test": source(DATA / "test.tsv.gz"),
            "tokens": 1024,
            "max_len": 128,
        },
        "model": {"start_from": str(start.resolve()), "override": {"**.dropout": setting["dropout"], "readout": readout,
                  "**.mechanism": {"full": {"dropout": 0.0}}}},
        "training": {
            "seed": seed, "epochs": setting["epochs"], "threads": threads, "evaluate_every": n // 13,
            "save_every": 1_000_000, "save_minutes": None, "keep": 1,
            "optimizer": {"lr": setting["lr"], "weight_decay": 0.05},
            "schedule": {"kind": "linear", "warmup": 40},
        },
        "evaluation": {"metric": "accuracy", "samples": 0},
    }  # fmt: skip
    return run_config(tree, "finetune")


def one(start: Path, fresh: bool, n: int, seed: int, setting: dict[str, Any], folder: Path, test: bool,
        threads: int | None) -> float:  # fmt: skip
    """Accuracy: on validation while settings are chosen, on the test set afterwards."""
    config = finetuning(start, n, seed, setting, folder, threads)
    task = prepare(config)
    if fresh:  # the same model and tokenizer, none of the weights
        task.model.load_state_dict(task.model.spec.build(seed=seed).state_dict())
    name = f"{start.name}-{'fresh' if fresh else 'started'}-{n}-{seed}-" + "-".join(map(str, setting.values()))
    result = train(task, config.training, folder / name, Console(quiet=True))
    return open_run(folder / name).evaluate("test")["accuracy"] if test else result.best["value"]


def finetune(given: argparse.Namespace) -> None:
    """What an earlier call has measured is not done again: new rates, seeds or objectives join the same file."""
    path = RESULTS / "pretraining.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    runs: list[dict[str, Any]] = found.get("runs", [])
    folder = given.runs / "finetune"

    def accuracy(model: str, n: int, seed: int, setting: dict[str, Any], split: str) -> float:
        asked = {"model": model, "labels": n, "seed": seed, **setting, "split": split}
        for run in runs:
            if asked.items() <= run.items():
                return run["accuracy"]
        if model == "n-grams":
            value = n_grams(n, seed, folder)
        else:
            start = given.runs / (given.objectives[0] if model == SCRATCH else model)
            value = one(start, model == SCRATCH, n, seed, setting, folder, split == "test", given.threads)
        runs.append(asked | {"accuracy": value})
        print(runs[-1], flush=True)
        keep("pretraining", {"machine": machine(), **found, "runs": runs})
        return value

    for n, model in itertools.product(given.labels, [*given.objectives, SCRATCH, "n-grams"]):
        best: dict[str, Any] = {}
        if model != "n-grams":
            settings = [dict(zip(TRIED[n], values)) for values in itertools.product(*TRIED[n].values())]
            best = max(settings, key=lambda s: sum(accuracy(model, n, seed, s, "val") for seed in TUNING))
        rows = [{"model": model, "labels": n, "seed": seed, **best,
                 "accuracy": accuracy(model, n, seed, best, "test")} for seed in range(given.seeds)]  # fmt: skip
        others = [r for r in found.get("rows", []) if (r["model"], r["labels"]) != (model, n)]
        found["rows"] = others + rows
        keep("pretraining", {"machine": machine(), **found, "runs": runs})
    print(table(found["rows"]))


def n_grams(n: int, seed: int, folder: Path) -> float:
    """Character 1- to 4-grams, tf-idf, logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    def read(path: Path) -> tuple[list[str], list[str]]:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
        head, *lines = (line.split("\t") for line in text.rstrip("\n").split("\n"))
        rows = [dict(zip(head, line, strict=True)) for line in lines]
        return [r["document"] for r in rows], [r["label"] for r in rows]

    texts, labels = read(drawn(n, seed, folder))
    fitted = []
    for c in (1.0, 3.0, 10.0):
        features = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), min_df=2, sublinear_tf=True)
        model = make_pipeline(features, LogisticRegression(C=c, max_iter=2000)).fit(texts, labels)
        fitted.append((model.score(*read(drawn(SELECTED, 0, folder, "val"))), c, model))
    return float(max(fitted, key=lambda f: f[:2])[2].score(*read(DATA / "test.tsv.gz")))


def table(rows: list[dict[str, Any]]) -> str:
    """Test accuracy, and the gain over the same model from scratch, seed by seed."""
    lines = ["| model | labels | test accuracy | gain over scratch |", "| --- | --- | --- | --- |"]
    for n in dict.fromkeys(r["labels"] for r in rows):
        scratch = {r["seed"]: r["accuracy"] for r in rows if (r["labels"], r["model"]) == (n, SCRATCH)}
        for name in dict.fromkeys(r["model"] for r in rows if r["labels"] == n):
            mine = {r["seed"]: r["accuracy"] for r in rows if (r["labels"], r["model"]) == (n, name)}
            gains = [mine[s] - scratch[s] for s in mine if s in scratch]
            gain = "{:+.3f} ± {:.3f}".format(*mean_interval(gains)) if gains and name != SCRATCH else ""
            lines.append(
                f"| {name} | {n:,} | {'{:.3f} ± {:.3f}'.format(*mean_interval(list(mine.values())))} | {gain} |"
            )
    return "\n".join(lines)


def plot() -> None:
    import altair as alt

    rows = json.loads((RESULTS / "pretraining.json").read_text(encoding="utf-8"))["rows"]
    base = alt.Chart(alt.InlineData(rows)).encode(
        y=alt.Y("model:N", title=None), x=alt.X("accuracy:Q", scale=alt.Scale(zero=False), title="test accuracy")
    )
    points = base.mark_point(filled=True, opacity=0.5, size=50)
    intervals = base.mark_errorbar(extent="ci", thickness=2)
    means = base.mark_tick(thickness=3, size=20).encode(x="mean(accuracy):Q")
    folder = Path(__file__).parent.parent / "docs" / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    chart = alt.layer(points, intervals, means).facet(row="labels:O")
    chart.save(folder / "pretraining.svg")
    chart.save(folder / "pretraining.png", scale_factor=2)


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("what", choices=("pretrain", "finetune", "plot"))
    args.add_argument("objectives", nargs="*", choices=(*TASKS, []), default=[])
    args.add_argument("--minutes", type=float, default=40.0)
    args.add_argument("--labels", type=int, nargs="+", choices=list(TRIED), default=list(TRIED))
    args.add_argument("--seeds", type=int, default=5)
    args.add_argument("--threads", type=int)
    args.add_argument("--runs", type=Path, default=Path("runs/pretraining"))
    given = args.parse_args()
    given.objectives = given.objectives or list(TASKS)
    if given.what == "pretrain":
        for objective in given.objectives:
            config = pretraining(objective, given.minutes, given.threads)
            train(prepare(config), config.training, given.runs / objective, Console(force_terminal=False, width=140))
    elif given.what == "finetune":
        finetune(given)
    else:
        plot()


if __name__ == "__main__":
    main()
