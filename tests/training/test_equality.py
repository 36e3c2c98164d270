"""One global batch gives one result, however it is cut: N x 1 = 1 x N = two processes."""

import pytest
import torch

from jorip.training import TrainConfig, read_events, read_tensors, train
from tests.training.forks import template
from tests.training.toy import ToyTask, without_wall

CONFIG = {"seed": 5, "steps": 18, "log_every": 1, "label_smoothing": 0.1, "clip": 0.5, "evaluate_every": 6}


def weights(run):
    return read_tensors(run / "ckpt/step-00000018/model.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    train(ToyTask(dtype=torch.float64), TrainConfig(**CONFIG), run)
    return run


def same(a, b):
    for name, t in weights(a).items():
        torch.testing.assert_close(t, weights(b)[name], rtol=0, atol=1e-12)
    for x, y in zip(without_wall(read_events(a)), without_wall(read_events(b)), strict=True):
        assert x.keys() == y.keys() and x["kind"] == y["kind"]
        for key in {"step", "loss", "grad_norm", "aux", "tokens", "lr"} & x.keys():
            assert x[key] == pytest.approx(y[key], rel=1e-10)


@pytest.mark.parametrize("limit", [1, 17, 40])
def test_accumulation_changes_nothing(limit, whole, tmp_path):
    task = ToyTask(dtype=torch.float64)
    # the auxiliary loss of the toy is a mean over the micro-batch weighted by its count, so it is additive too
    train(task, TrainConfig(**CONFIG, micro_tokens=limit), tmp_path / "run")
    assert max(len(s) for s in task.seen) <= 10
    same(whole, tmp_path / "run")


@pytest.mark.parametrize(("ranks", "more"), [(2, {}), (2, {"micro_tokens": 15}), (3, {"average": 0.0})])
def test_processes_change_nothing(ranks, more, whole, tmp_path):
    answer = template().run(tmp_path / "run", {**CONFIG, **more}, task={"dtype": "float64"}, ranks=ranks)
    assert answer["codes"] == [0] * ranks, answer["stderr"]
    same(whole, tmp_path / "run")
    hashes = {(tmp_path / f"run.hash{r}").read_text("utf-8") for r in range(ranks)}
    assert len(hashes) == 1  # the ranks agree bit for bit


def test_a_rank_without_an_example(tmp_path):
    """9 examples: each epoch ends with a batch of one, which one of the two ranks does not get."""
    task = {"dtype": "float64", "n": 9}
    train(ToyTask(dtype=torch.float64, n=9), TrainConfig(**CONFIG), tmp_path / "one")
    answer = template().run(tmp_path / "two", CONFIG, task=task, ranks=2)
    assert answer["codes"] == [0, 0], answer["stderr"]
    same(tmp_path / "one", tmp_path / "two")


def test_parameters_that_take_no_part(tmp_path):
    task = {"dtype": "float64", "unused": True}
    one = ToyTask(dtype=torch.float64, unused=True)
    train(one, TrainConfig(**CONFIG), tmp_path / "one")
    answer = template().run(tmp_path / "two", {**CONFIG, "micro_tokens": 15}, task=task, ranks=2)
    assert answer["codes"] == [0, 0], answer["stderr"]
    same(tmp_path / "one", tmp_path / "two")


def test_begun_with_two_processes_and_finished_with_one(whole, tmp_path):
    answer = template().run(tmp_path / "run", CONFIG, task={"dtype": "float64"}, ranks=2, failpoint="step.end:7:term")
    assert answer["codes"] == [75, 75], answer["stderr"]
    answer = template().run(tmp_path / "run", CONFIG, task={"dtype": "float64"})
    assert answer["code"] == 0
    assert "the run was begun with 2 processes, now 1: sums round differently" in answer["stderr"]
    same(whole, tmp_path / "run")
