"""Words without a tag (built-in data have them): nothing is learnt or scored there."""

from jorip.parts.readout.base import IGNORE
from jorip.tasks.check import check
from jorip.tasks.config import run_config
from jorip.tasks.run import prepare

OPTIONS = {"train": 20, "val": 4, "test": 4, "pairs": 3, "queries": 2, "keys": 5, "values": 3}


def config():
    sources = {s: {"builtin": "recall", "split": s, "options": OPTIONS} for s in ("train", "val", "test")}
    model = {"override": {"d_model": 8, "n_layers": 1, "n_heads": 2}}
    return run_config(
        {
            "task": "tag",
            "data": {**sources, "tokens": 32},
            "tokenizer": {"kind": "words"},
            "model": model,
            "training": {"steps": 1, "schedule": {"kind": "constant"}},
        },
        "test",
    )


def test_only_what_is_tagged_counts():
    task = prepare(config())
    assert task.labels == ["v0", "v1", "v2"]
    batch = task.train.take([0, 1])
    targets = batch["targets"].values.reshape(2, 8)
    assert (targets[:, :6] == IGNORE).all() and (targets[:, 6:] != IGNORE).all()
    assert task.count(batch) == 4
    scores = task.evaluate(task.val.rows)
    assert scores["accuracy"] * 8 == round(scores["accuracy"] * 8)  # of 4 rows with 2 tags each
    assert task.samples(task.model)[0]["target"].startswith("_ _ _ _ _ _ v")


def test_check_reads_them():
    report = check(config())
    assert report.problems == [] and {"v0", "v1", "v2"} < set(report.sections["labels"])
