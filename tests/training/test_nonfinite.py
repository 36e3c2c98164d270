import json

import pytest
import torch

from jorip.core.errors import NonFiniteError
from jorip.training import TrainConfig, read_events, train, verify
from tests.training.toy import ToyTask, weights_hash


class Explodes(ToyTask):
    """The loss of one example is not a number."""

    bad = 3

    def loss(self, model, batch, key, label_smoothing):
        terms, count, aux = super().loss(model, batch, key, label_smoothing)
        if model.training and (batch["tokens"].uid == self.bad).any():
            terms = terms * float("nan")
        return terms, count, aux


def test_a_step_is_skipped_and_said_so(tmp_path, capsys):
    task = Explodes()
    result = train(task, TrainConfig(steps=8, log_every=1), tmp_path / "run")
    assert result.step == 8
    (event,) = [e for e in read_events(tmp_path / "run") if e["kind"] == "nonfinite"]
    assert 3 in event["ids"] and event["loss"] == "nan"
    assert "step skipped (1 of at most 3)" in capsys.readouterr().err
    assert all(torch.isfinite(p).all() for p in task.model.parameters())


def test_too_many_stop_the_run_with_a_dump(tmp_path):
    with pytest.raises(NonFiniteError, match=r"loss nan, gradient norm nan, and 1 steps were skipped before") as e:
        train(Explodes(), TrainConfig(steps=50, nonfinite={"skip": 1}), tmp_path / "run")
    assert e.value.exit_code == 5
    assert "gradients not finite: embedding.weight" in str(e.value)
    (file,) = (tmp_path / "run").glob("nonfinite-step-*.json")
    assert str(file) in str(e.value)
    facts = json.loads(file.read_bytes())
    assert 3 in facts["ids"] and facts["loss"] == "nan"
    assert facts["norms"]["hidden.weight"]["gradient"] == "nan"
    assert isinstance(facts["norms"]["hidden.weight"]["weight"], float)


def test_a_skipped_step_leaves_no_trace_in_weights(tmp_path):
    class Skips(Explodes):
        def plan(self, epoch):
            return [[3, 4], [5, 6]]

    class Without(ToyTask):
        def plan(self, epoch):
            return [[5, 6]]

    a, b = Skips(p=0.0), Without(p=0.0)
    config = {"schedule": {"kind": "constant"}, "clip": None}
    train(a, TrainConfig(steps=4, **config), tmp_path / "a")
    train(b, TrainConfig(steps=2, **config), tmp_path / "b")
    assert weights_hash(a.model) == weights_hash(b.model)


def test_nan_in_a_weight_stops_at_once(tmp_path):
    task = ToyTask()
    train(task, TrainConfig(steps=20, evaluate_every=4, nonfinite={"skip": 100}), tmp_path / "good")

    class Breaks(ToyTask):
        def batch(self, ids, epoch):
            if self.model.training and len(self.seen) == 12:
                with torch.no_grad():
                    self.model.hidden.weight[0, 0] = float("nan")
            return super().batch(ids, epoch)

    config = TrainConfig(steps=20, evaluate_every=4, nonfinite={"skip": 100})
    with pytest.raises(NonFiniteError, match=r"weights are not finite: hidden\.weight\. .*last checkpoint is whole"):
        train(Breaks(), config, tmp_path / "run")
    again = ToyTask()
    train(again, config, tmp_path / "run")
    assert weights_hash(again.model) == weights_hash(task.model)


def test_nan_in_a_weight_that_no_batch_touches_is_not_saved(tmp_path):
    class Breaks(ToyTask):
        def validate(self, model):
            with torch.no_grad():
                model.hidden.bias[0] = float("inf")
            return {"loss": 1.0}

    with pytest.raises(NonFiniteError, match=r"weights are not finite: hidden\.bias\. Nothing was saved"):
        train(Breaks(), TrainConfig(steps=6, evaluate_every=4, save_every=2), tmp_path / "run")
    for folder in (tmp_path / "run/ckpt").glob("step-*"):
        verify(folder)


def test_an_infinite_loss_alone_is_enough(tmp_path):
    class Infinite(ToyTask):
        def loss(self, model, batch, key, label_smoothing):
            terms, count, aux = super().loss(model, batch, key, label_smoothing)
            return terms + float("inf"), count, aux

    with pytest.raises(NonFiniteError, match="loss inf"):
        train(Infinite(), TrainConfig(steps=9, nonfinite={"skip": 0}), tmp_path / "run")
