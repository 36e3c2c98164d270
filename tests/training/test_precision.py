import time

import pytest
import torch

from jorip.training import TrainConfig, train
from jorip.training import precision as p
from tests.training.toy import ToyTask

CPU = torch.device("cpu")


def test_what_is_set_is_taken():
    assert p.choose("bf16", CPU, lambda _: pytest.fail("nothing to measure")) == {"precision": "bf16", "why": "set"}


def test_without_bf16_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    found = p.choose("auto", CPU, lambda _: pytest.fail("nothing to measure"))
    assert found == {"precision": "fp32", "why": "this cpu has no bf16 arithmetic"}


@pytest.mark.parametrize(("slow", "chosen"), [("fp32", "bf16"), ("bf16", "fp32")])
def test_the_faster_is_chosen(slow, chosen, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})

    def run(context):
        with context:
            bf16 = torch.is_autocast_enabled("cpu")
        time.sleep(0.1 if ("bf16" if bf16 else "fp32") == slow else 0.03)

    found = p.choose("auto", CPU, run)
    assert found["precision"] == chosen and found["why"].startswith("measured: fp32 ")


def test_what_is_too_short_is_not_measured(monkeypatch):
    """So that the next run on this machine is the same one, whatever else the machine does."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    runs = []
    found = p.choose("auto", CPU, lambda context: runs.append(context))
    assert found["precision"] == "fp32" and found["why"].endswith("ms is too short to measure") and len(runs) == 4


def test_measuring_leaves_no_trace(tmp_path, monkeypatch):
    """The model, its buffers and gradients are as before: the run is the one of a machine where it was not measured."""
    from tests.training.toy import weights_hash

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(p, "GAIN", 1e9)
    monkeypatch.setattr(p, "SHORT", 0.0)
    a, b = ToyTask(), ToyTask()
    train(a, TrainConfig(steps=4, precision="auto"), tmp_path / "a")
    train(b, TrainConfig(steps=4, precision="fp32"), tmp_path / "b")
    assert weights_hash(a.model) == weights_hash(b.model)


def test_measuring_takes_a_smaller_part_when_memory_is_short(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(p, "SHORT", 0.0)
    result = train(ToyTask(room=20), TrainConfig(steps=3), tmp_path / "run")
    assert result.step == 3


def test_bf16_trains(tmp_path):
    result = train(ToyTask(), TrainConfig(steps=60, precision="bf16", optimizer={"lr": 0.01}), tmp_path / "run")
    assert result.metrics["loss"] < 4
