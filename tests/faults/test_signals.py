"""SIGTERM and SIGINT: the first saves and exits with 75, the second leaves at once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from jorip.training import read_events
from tests.training.forks import template
from tests.training.toy import without_wall

CONFIG = {"seed": 1, "steps": 40, "save_every": 1000, "evaluate_every": 10, "log_every": 1}


def final(run: Path) -> tuple[str, list[dict]]:
    return Path(f"{run}.hash0").read_text("utf-8"), without_wall(read_events(run))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    assert template().run(run, CONFIG)["code"] == 0
    return final(run)


@pytest.mark.parametrize(
    "place", ["step.micro:1", "step.end:10", "step.micro:13", "evaluate.begin:1", "save.manifest:1", "step.end:40"]
)
def test_sigterm_finishes_the_step_saves_and_exits_75(place, whole, tmp_path):
    run = tmp_path / "run"
    answer = template().run(run, CONFIG, failpoint=f"{place}:term")
    if place == "step.end:40":
        assert len(list((run / "ckpt").glob("step-00000040"))) == 1
    assert answer["code"] == 75, answer["stderr"]
    assert "stopped by SIGTERM after step" in answer["stderr"]
    assert "everything is saved: run the same command to go on" in answer["stderr"]
    assert template().run(run, CONFIG)["code"] == 0
    assert final(run) == whole


def test_sigint_does_the_same(tmp_path):
    answer = template().run(tmp_path / "run", {**CONFIG, "steps": 100000}, signals=[(0.3, "SIGINT", 0)])
    assert answer["code"] == 75
    assert "stopped by SIGINT" in answer["stderr"]
    assert len(list((tmp_path / "run/ckpt").glob("step-*"))) >= 1


def test_the_second_signal_leaves_at_once_and_nothing_is_lost(whole, tmp_path):
    """The second comes in the middle of the save that the first one asked for."""
    run = tmp_path / "run"
    answer = template().run(run, CONFIG, failpoint="step.end:15:term,save.manifest:2:term")
    assert answer["code"] == 75
    assert "everything is saved" not in answer["stderr"]
    assert sorted(p.name for p in (run / "ckpt").glob("step-*[0-9]") if ".tmp" not in p.name) == ["step-00000010"]
    assert template().run(run, CONFIG)["code"] == 0
    assert final(run) == whole


def test_a_signal_to_one_of_two_processes_stops_both(tmp_path):
    config = {**CONFIG, "steps": 100000}
    answer = template().run(tmp_path / "run", config, ranks=2, signals=[(1.0, "SIGTERM", 1)])
    assert answer["codes"] == [75, 75], answer["stderr"]
    assert "stopped by a signal to another process" in answer["stderr"]
    assert signal.SIGTERM and len(list((tmp_path / "run/ckpt").glob("step-*"))) >= 1
