"""What a run does and leaves behind."""

import json

import pytest
import torch

from jorip.core.errors import ConfigError, DataError
from jorip.training import TrainConfig, best_checkpoint, load_weights, read_events, read_tensors, train, verify
from tests.training.toy import ToyTask, weights_hash, without_wall


def kinds(events, kind):
    return [e for e in events if e["kind"] == kind]


def test_events_hold_what_a_report_needs(tmp_path):
    task = ToyTask()
    result = train(task, TrainConfig(steps=20, log_every=5, evaluate_every=10), tmp_path / "run")
    events = read_events(tmp_path / "run")
    logged = kinds(events, "train")
    assert [e["step"] for e in logged] == [5, 10, 15, 20]
    for key in ("step", "epoch", "loss", "lr", "grad_norm", "tokens", "seconds", "tokens_per_second"):
        assert all(isinstance(e[key], int | float) for e in logged)
    assert logged[-1]["epoch"] == 2.5 and logged[-1]["tokens"] == result.tokens
    assert [e["step"] for e in kinds(events, "evaluation")] == [10, 20]
    assert kinds(events, "samples")[0]["samples"][0]["source"] == "가나"
    assert events[-1]["kind"] == "end" and events[-1]["reason"] == "steps"
    assert (result.step, result.epoch, result.reason) == (20, 2.5, "steps")
    assert result.metrics == kinds(events, "evaluation")[-1]["metrics"]
    assert result.checkpoint == best_checkpoint(tmp_path / "run")


def test_run_json_holds_what_a_repetition_needs(tmp_path):
    train(ToyTask(), TrainConfig(steps=2), tmp_path / "run", recipe={"model": {"d_model": 16}})
    facts = json.loads((tmp_path / "run/run.json").read_bytes())
    assert facts["config"]["steps"] == 2 and facts["recipe"] == {"model": {"d_model": 16}}
    assert facts["data"] == ToyTask().fingerprint
    assert facts["measured"]["precision"] in ("fp32", "bf16") and facts["measured"]["threads"] >= 1
    assert "torch" in facts["versions"] and "cpu" in facts["hardware"]


def test_the_loss_falls_and_is_the_mean_over_tokens(tmp_path):
    task = ToyTask()
    batch = task.batch(task.plan(0)[0], 0)
    task.model.train()
    from jorip.core.random import Key

    with torch.no_grad():
        terms, count, _ = task.loss(task.model, batch, Key(4, 1), 0.0)
    train(task, TrainConfig(seed=4, steps=150, log_every=1, optimizer={"lr": 0.01}), tmp_path / "run")
    logged = kinds(read_events(tmp_path / "run"), "train")
    assert logged[0]["loss"] == pytest.approx(float(terms) / count, rel=1e-6)
    assert sum(e["loss"] for e in logged[-10:]) < 0.8 * sum(e["loss"] for e in logged[:10])


def test_evaluating_and_logging_more_often_changes_nothing(tmp_path):
    hashes = set()
    for name, config in {
        "a": {},
        "b": {"evaluate_every": 1, "log_every": 1},
        "c": {"save_every": 1, "save_minutes": 1e-9},
    }.items():
        task = ToyTask()
        train(task, TrainConfig(steps=12, **config), tmp_path / name)
        hashes.add(weights_hash(task.model))
    assert len(hashes) == 1


def test_modules_that_draw_from_torchs_generator_resume_too(tmp_path):
    """Dropout from the global generator, interrupted in the middle and with foreign draws in between."""

    class Noisy(ToyTask):
        def __init__(self):
            super().__init__()
            self.model.register_forward_hook(lambda m, i, o: torch.nn.functional.dropout(o, 0.3, m.training))

    whole = Noisy()
    train(whole, TrainConfig(steps=12), tmp_path / "whole")
    from jorip.core.errors import Interrupted
    from jorip.training import failpoints

    part = Noisy()
    failpoints.arm("step.end:5:term")
    with pytest.raises(Interrupted):
        train(part, TrainConfig(steps=12), tmp_path / "part")
    torch.rand(100)
    again = Noisy()
    train(again, TrainConfig(steps=12), tmp_path / "part")
    assert weights_hash(again.model) == weights_hash(whole.model)


def test_early_stopping_keeps_the_best(tmp_path):
    task = ToyTask()
    config = TrainConfig(steps=500, evaluate_every=4, patience=3, keep=1, save_every=1, optimizer={"lr": 0.1})
    result = train(task, config, tmp_path / "run")
    evaluations = kinds(read_events(tmp_path / "run"), "evaluation")
    losses = [e["metrics"]["loss"] for e in evaluations]
    assert result.reason == "patience" and result.step < 500
    assert losses.index(min(losses)) == len(losses) - 4
    assert result.best["value"] == min(losses) and result.best["step"] == evaluations[-4]["step"]
    kept = sorted(p.name for p in (tmp_path / "run/ckpt").glob("step-*"))
    assert kept == sorted({result.best["name"], f"step-{result.step:08d}"})
    other = ToyTask(seed=3)
    load_weights(other.model, result.checkpoint)
    other.model.eval()
    with torch.no_grad():
        assert other.validate(other.model)["loss"] == min(losses)


def test_the_direction_of_the_metric(tmp_path):
    class Upwards(ToyTask):
        selects = ("score", "max")
        scores = iter([1.0, 3.0, float("nan"), 2.0])

        def validate(self, model):
            return {"loss": 0.0, "score": next(self.scores)}

    result = train(Upwards(), TrainConfig(steps=8, evaluate_every=2), tmp_path / "run")
    assert result.best == {"name": "step-00000004", "step": 4, "metric": "score", "value": 3.0}
    assert kinds(read_events(tmp_path / "run"), "evaluation")[2]["metrics"]["score"] == "nan"


def test_a_metric_that_is_not_there(tmp_path):
    class Wrong(ToyTask):
        selects = ("bleu", "max")

    with pytest.raises(ConfigError, match=r"task\.selects is 'bleu', but validate gave loss, accuracy"):
        train(Wrong(), TrainConfig(steps=1), tmp_path / "run")


def test_minutes_end_a_run_and_a_resume_does_not_begin_again(tmp_path):
    config = TrainConfig(minutes=0.005, schedule={"kind": "constant"}, log_every=1000)
    result = train(ToyTask(), config, tmp_path / "run")
    assert result.reason == "minutes" and 0.3 <= result.seconds < 5
    again = train(ToyTask(), config, tmp_path / "run")
    assert again.step == result.step and again.reason == "minutes"
    assert kinds(read_events(tmp_path / "run"), "train")[-1]["step"] == result.step  # the rest is logged too


def test_epochs_end_a_run(tmp_path):
    result = train(ToyTask(), TrainConfig(epochs=2), tmp_path / "run")
    assert (result.reason, result.step, result.epoch) == ("epochs", 16, 2.0)


def test_averaged_weights_are_evaluated_and_saved(tmp_path):
    plain, task = ToyTask(), ToyTask()
    train(plain, TrainConfig(steps=16, log_every=1), tmp_path / "plain")
    result = train(task, TrainConfig(steps=16, log_every=1, average=0.9), tmp_path / "run")
    assert weights_hash(task.model) == weights_hash(plain.model)  # averaging only watches
    trainer = read_tensors(result.checkpoint / "trainer.safetensors")
    used = read_tensors(result.checkpoint / "model.safetensors")
    for name, p in task.model.named_parameters():
        assert torch.equal(trainer[f"weights/{name}"], p)
    assert not torch.equal(used["hidden.weight"], task.model.hidden.weight)
    other = ToyTask(seed=9)
    load_weights(other.model, result.checkpoint)
    other.model.eval()
    with torch.no_grad():
        assert other.validate(other.model)["loss"] == result.best["value"]


def test_rotation_keeps_the_last_ones_and_the_best(tmp_path):
    task = ToyTask()
    train(task, TrainConfig(steps=12, save_every=2, keep=3, evaluate_every=12), tmp_path / "run")
    names = sorted(p.name for p in (tmp_path / "run/ckpt").glob("step-*"))
    assert names == ["step-00000008", "step-00000010", "step-00000012"]
    for name in names:
        assert verify(tmp_path / "run/ckpt" / name)["step"] == int(name[5:])


def test_no_batches(tmp_path):
    class Empty(ToyTask):
        def plan(self, epoch):
            return []

    with pytest.raises(DataError, match="the plan has no batches: there is nothing to train on"):
        train(Empty(), TrainConfig(steps=1), tmp_path / "run")


def test_a_count_that_disagrees_is_a_bug_that_shows(tmp_path):
    class Wrong(ToyTask):
        def count(self, batch):
            return super().count(batch) + 1

    with pytest.raises(RuntimeError, match=r"task\.count gave \d+ loss terms and task\.loss \d+"):
        train(Wrong(), TrainConfig(steps=1), tmp_path / "run")


def test_overfitting_is_warned_of(tmp_path, capsys):
    train(ToyTask(n=9), TrainConfig(steps=1), tmp_path / "run")
    assert "warning: 928 parameters are many for" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_run(tmp_path):
    results = []
    for name in "ab":
        task = ToyTask()
        train(task, TrainConfig(steps=10, log_every=1), tmp_path / name)
        results.append((weights_hash(task.model), without_wall(read_events(tmp_path / name))))
    assert results[0] == results[1]


def test_settings_of_the_process_are_put_back(tmp_path):
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    train(ToyTask(), TrainConfig(steps=1, threads=1), tmp_path / "run")
    assert (torch.get_num_threads(), torch.get_deterministic_debug_mode()) == before
