"""Killed at any instant, the same command gives the same weights, bit for bit, and the same events."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from jorip.training import read_events
from tests.training.forks import template
from tests.training.toy import without_wall

# 8 batches in an epoch: saves in its middle and at its end, evaluations at other places than saves
CONFIGS = {
    "steps": {"seed": 1, "steps": 44, "save_every": 5, "evaluate_every": 8, "log_every": 1},
    "average": {"seed": 2, "epochs": 5, "save_every": "epoch", "evaluate_every": 6, "log_every": 3, "average": 0.9},
    "patience": {
        "seed": 3, "steps": 400, "save_every": 4, "evaluate_every": 4, "log_every": 2, "patience": 3, "keep": 1,
        "optimizer": {"lr": 0.05}, "micro_tokens": 20,
    },
}  # fmt: skip
FAILPOINTS = [
    "step.begin", "step.micro", "step.end", "evaluate.begin", "evaluate.end", "write", "save.tensors", "save.manifest",
    "save.rename", "save.done", "best.write", "replace.rename", "rotate.rename", "rotate.delete",
]  # fmt: skip


def outcome(run: Path) -> tuple[str, list[dict]]:
    """Hash of the final weights, and the events without wall times."""
    return Path(f"{run}.hash0").read_text("utf-8"), without_wall(read_events(run))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, tuple[str, list[dict], float]]:
    """Each configuration without interruption."""
    results = {}
    for name, config in CONFIGS.items():
        run = tmp_path_factory.mktemp("whole") / name
        answer = template().run(run, config)
        assert answer["code"] == 0, answer["stderr"]
        results[name] = (*outcome(run), answer["seconds"])
    return results


def test_the_seed_matters(whole, tmp_path):
    template().run(tmp_path / "run", {**CONFIGS["steps"], "seed": 9})
    assert outcome(tmp_path / "run")[0] != whole["steps"][0]


@pytest.mark.parametrize("name", CONFIGS)
def test_killed_at_random_times(name, whole, tmp_path):
    """At least 7 kills for each of three configurations, several in a row in one run."""
    rng = random.Random(name)
    weights, events, seconds = whole[name]
    kills, longest_row, attempt = 0, 0, 0
    while kills < 7 or longest_row < 3:
        run, row, attempt = tmp_path / f"run{attempt}", 0, attempt + 1
        assert attempt < 30, "the kills come too late to meet the training"
        while True:
            after = rng.uniform(0.2, 0.9) * seconds / (row + 1) if row < 4 else None
            answer = template().run(run, CONFIGS[name], kill_after=after)
            if answer["code"] == 0:
                break
            assert answer["code"] == -signal.SIGKILL, answer["stderr"]
            row += 1
        kills, longest_row = kills + row, max(longest_row, row)
        assert outcome(run) == (weights, events)


@pytest.mark.parametrize("place", FAILPOINTS)
def test_killed_at_a_named_place(place, whole, tmp_path):
    """Twice in a row, at an early and at a later passage."""
    run = tmp_path / "run"
    for failpoint in (f"{place}:2", f"{place}:1"):
        answer = template().run(run, CONFIGS["patience"], failpoint=failpoint)
        assert answer["code"] == -signal.SIGKILL, f"{place} was not reached: {answer['stderr']}"
    assert template().run(run, CONFIGS["patience"])["code"] == 0
    assert outcome(run) == whole["patience"][:2]
    assert not [p.name for p in (run / "ckpt").iterdir() if ".tmp-" in p.name or ".old-" in p.name]


@pytest.mark.parametrize("step", [7, 8, 9, 43])
def test_killed_around_an_epochs_end_and_at_the_last_step(step, whole, tmp_path):
    """Saves at steps 7 and 8 and 9, so that resumes begin in the middle, at the end and at the start of an epoch."""
    config = {**CONFIGS["steps"], "save_every": 1}
    run = tmp_path / "run"
    assert template().run(run, config, failpoint=f"step.begin:{step + 1}")["code"] == -signal.SIGKILL
    assert (run / "ckpt" / f"step-{step:08d}").is_dir()
    assert template().run(run, config, failpoint="step.begin:1")["code"] == -signal.SIGKILL
    assert template().run(run, config)["code"] == 0
    assert outcome(run) == whole["steps"][:2]


def test_a_finished_run_stays_finished(whole, tmp_path):
    run = tmp_path / "run"
    for _ in range(2):
        assert template().run(run, CONFIGS["steps"])["code"] == 0
        assert outcome(run) == whole["steps"][:2]
