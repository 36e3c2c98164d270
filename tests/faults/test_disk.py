"""A disk that is full, or that changes what was written: nothing that was saved is lost, and the user is told."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from jorip.core.errors import CheckpointError, ResourceError
from jorip.training import TrainConfig, best_checkpoint, failpoints, load_weights, read_events, train, verify
from tests.training.forks import template
from tests.training.toy import ToyTask, weights_hash, without_wall

CONFIG = {"seed": 1, "steps": 16, "save_every": 4, "evaluate_every": 8, "log_every": 1}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A run to copy, with checkpoints 12 and 16, and the hash of its final weights."""
    run = tmp_path_factory.mktemp("finished") / "run"
    task = ToyTask()
    train(task, TrainConfig(**CONFIG), run)
    return run, weights_hash(task.model)


@pytest.mark.parametrize("write", [*range(1, 11)])
def test_the_disk_is_full_at_any_write(write, finished, tmp_path):
    """At each write in turn: exit 6, no half-written folder, the previous checkpoint loads, a resume ends the same."""
    run = tmp_path / "run"
    failpoints.arm(f"write:{write}:full")
    try:
        with pytest.raises(
            ResourceError, match=r"the disk is full\..*free some space and run the same command again"
        ) as e:
            train(ToyTask(), TrainConfig(**CONFIG), run)
    finally:
        failpoints.arm("")
    assert e.value.exit_code == 6
    assert not [p for p in run.rglob("*") if ".tmp-" in p.name]
    for folder in (run / "ckpt").glob("step-*"):
        verify(folder)
    task = ToyTask()
    train(task, TrainConfig(**CONFIG), run)
    assert weights_hash(task.model) == finished[1]
    assert without_wall(read_events(run)) == without_wall(read_events(finished[0]))


@pytest.mark.parametrize("limit", [1000, 3000, 6000])
def test_the_systems_own_limit_on_file_size(limit, finished, tmp_path):
    """RLIMIT_FSIZE: a real failing write, inside of run.json, of the weights, of the optimizer's tensors."""
    answer = template().run(tmp_path / "run", CONFIG, fsize=limit)
    assert answer["code"] == 6, answer["stderr"]
    assert "the disk is full" in answer["stderr"]
    assert template().run(tmp_path / "run", CONFIG)["code"] == 0
    assert Path(f"{tmp_path}/run.hash0").read_text("utf-8") == finished[1]


def test_too_little_space_is_noticed_before_writing(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    config = TrainConfig(**{**CONFIG, "steps": 8})
    with monkeypatch.context() as m:
        m.setattr(
            shutil,
            "disk_usage",
            lambda _: usage(10, 10, 300000 if any(tmp_path.glob("run/ckpt/step-????????")) else 1 << 30),
        )
        with pytest.raises(
            ResourceError,
            match=r"a checkpoint needs 1\.0 MiB, the disk has 293\.0 KiB free\. The checkpoint of step 4 is "
            "untouched and a resume starts there",
        ):
            train(ToyTask(), config, tmp_path / "run")
    train(ToyTask(), config, tmp_path / "run")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "run").write_text("a file", encoding="utf-8")
    with pytest.raises(ResourceError, match=r"cannot write: .*make it writable and run the same command again"):
        train(ToyTask(), TrainConfig(**CONFIG), tmp_path / "run")


FILES = ["model.safetensors", "trainer.safetensors", "trainer.json", "task.json", "manifest.json"]


def flip(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("harm", ["flip first", "flip middle", "flip last", "cut", "delete"])
def test_a_damaged_checkpoint_is_passed_over_and_said_so(file, harm, finished, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    path = run / "ckpt/step-00000016" / file
    if harm == "delete":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        flip(path, {"flip first": 0.0, "flip middle": 0.5, "flip last": 1.0}[harm])
    with pytest.raises(CheckpointError):
        verify(run / "ckpt/step-00000016")
    task = ToyTask()
    train(task, TrainConfig(**CONFIG), run)
    told = capsys.readouterr().err
    assert "passed over a damaged checkpoint" in told and "Going on from step-00000012" in told
    assert weights_hash(task.model) == finished[1]
    assert without_wall(read_events(run)) == without_wall(read_events(finished[0]))
    verify(run / "ckpt/step-00000016")
    assert len(list((run / "ckpt").glob("damaged-step-00000016-*"))) == 1


def test_no_valid_checkpoint_left(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    for folder in (run / "ckpt").glob("step-*"):
        flip(folder / "model.safetensors", 0.9)
    with pytest.raises(
        CheckpointError, match=r"no valid checkpoint is left:\n.*model\.safetensors: damaged: its sha256"
    ) as e:
        train(ToyTask(), TrainConfig(**CONFIG), run)
    assert e.value.exit_code == 4
    assert "take a new run folder to start again" in str(e.value)
    with pytest.raises(CheckpointError, match="sha256"):
        best_checkpoint(run)


def test_a_damaged_run_json(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    (run / "run.json").write_bytes(b"{")
    with pytest.raises(CheckpointError, match=r"run\.json: damaged .* restore it, or begin a new run folder"):
        train(ToyTask(), TrainConfig(**CONFIG), run)
    (run / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"run\.json: missing, though the run has checkpoints: restore it"):
        train(ToyTask(), TrainConfig(**CONFIG), run)


def test_a_manifest_cannot_point_outside(finished, tmp_path):
    from jorip.training.atomic import dumps

    folder = tmp_path / "step-00000016"
    shutil.copytree(finished[0] / "ckpt/step-00000016", folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["../x"] = {"size": 0, "sha256": ""}
    (folder / "manifest.json").write_bytes(dumps(manifest))
    with pytest.raises(CheckpointError, match=r"names a file outside of the checkpoint: '\.\./x'"):
        verify(folder)


def test_best_is_kept_and_loads(finished):
    folder = best_checkpoint(finished[0])
    best = json.loads((finished[0] / "ckpt/best.json").read_bytes())
    assert folder.name == best["name"] and best["metric"] == "loss"
    task = ToyTask(seed=5)
    load_weights(task.model, folder)
    task.model.eval()
    with torch.no_grad():
        assert task.validate(task.model)["loss"] == best["value"]
