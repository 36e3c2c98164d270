import json
import os

import pytest

from jorip.core.errors import CheckpointError, ConfigError
from jorip.training import TrainConfig, best_checkpoint, train
from jorip.training.lock import locked
from jorip.training.run import differences
from tests.training.toy import ToyTask

CONFIG = TrainConfig(steps=4)


def test_a_resume_with_other_settings_is_refused(tmp_path):
    train(ToyTask(), CONFIG, tmp_path / "run", recipe={"model": {"layers": 2}})
    with pytest.raises(ConfigError) as e:
        train(ToyTask(), TrainConfig(steps=5, optimizer={"lr": 0.1}), tmp_path / "run", recipe={"model": {"layers": 3}})
    text = str(e.value)
    assert "was begun with other settings, so it cannot be resumed with these" in text
    assert "config.optimizer.lr: 0.001 -> 0.1" in text and "config.steps: 4 -> 5" in text
    assert "recipe.model.layers: 2 -> 3" in text and "train into a new run folder" in text
    other = ToyTask()
    other.fingerprint = "another"
    with pytest.raises(ConfigError, match=r"data: '.*' -> 'another'"):
        train(other, CONFIG, tmp_path / "run", recipe={"model": {"layers": 2}})


def test_differences():
    assert list(differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 1}, "d": 3})) == ["c: 2 -> None", "d: None -> 3"]
    assert list(differences({"a": 1}, {"a": 1, "newer": [], "another": None})) == []


def test_two_processes_cannot_train_the_same_run(tmp_path):
    (tmp_path / "run").mkdir()
    with (
        locked(tmp_path / "run"),
        pytest.raises(ConfigError, match=f"is being trained by process {os.getpid()}: wait for it, stop it"),
    ):
        train(ToyTask(), CONFIG, tmp_path / "run")
    train(ToyTask(), CONFIG, tmp_path / "run")


def test_newer_formats_are_refused(tmp_path):
    train(ToyTask(), CONFIG, tmp_path / "run")
    file = tmp_path / "run/run.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), "format": 99}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="written in format 99, this jorip reads up to 1"):
        train(ToyTask(), CONFIG, tmp_path / "run")


def test_best_checkpoint_says_what_is_missing(tmp_path):
    with pytest.raises(CheckpointError, match="has no checkpoint yet: train first"):
        best_checkpoint(tmp_path)
    train(ToyTask(), CONFIG, tmp_path / "run")
    pointer = tmp_path / "run/ckpt/best.json"
    pointer.write_text('{"name": "../../x"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"best\.json: damaged; name a checkpoint folder yourself"):
        best_checkpoint(tmp_path / "run")
    pointer.unlink()
    assert best_checkpoint(tmp_path / "run").name == "step-00000004"


def test_a_checkpoint_of_another_versions_trainer(tmp_path):
    from jorip.training.state import State

    with pytest.raises(CheckpointError, match=r"trainer\.json: has other fields than this version's \(wings\)"):
        State.from_json({**State().to_json(), "wings": 2})


def test_events_that_are_shorter_than_remembered(tmp_path, capsys):
    train(ToyTask(), TrainConfig(steps=4, log_every=1), tmp_path / "run")
    (tmp_path / "run/events.jsonl").write_bytes(b"")
    train(ToyTask(), TrainConfig(steps=4, log_every=1), tmp_path / "run")
    assert "is shorter than the checkpoint remembers; earlier lines are missing" in capsys.readouterr().err
