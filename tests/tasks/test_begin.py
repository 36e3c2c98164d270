"""Runs that start from a folder: weights, tokenizer, frozen parts, LoRA, exact resume."""

import pytest
import torch

import jorip
from jorip.core.errors import CheckpointError, ConfigError, Interrupted
from jorip.tasks.run import open_run, prepare
from jorip.training import failpoints
from jorip.training.start import train
from tests.tasks.test_tasks import SMALL, config_for

MORE = "\n".join(f"{w} plot\t{label}" for w, label in zip(["dull", "great", "weak", "fun"] * 4, "ngng" * 4))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A finished run to start from."""
    folder = tmp_path_factory.mktemp("first")
    config = config_for("classify", folder)
    train(prepare(config), config.training, folder / "run")
    return folder / "run"


def second(first, tmp_path, **changes):
    model = {"start_from": str(first), **changes.pop("model", {})}
    return config_for("classify", tmp_path, text=MORE, model=model, **changes)


def steps(**more):
    return {"steps": 4, "schedule": {"kind": "constant"}, "evaluate_every": 4, "threads": 1, "save_every": 1, **more}


def test_weights_and_tokenizer_come_from_the_folder(first, tmp_path):
    task = prepare(second(first, tmp_path))
    source = jorip.load(first)
    mine, theirs = dict(task.model.named_parameters()), dict(source.named_parameters())
    assert set(mine) == set(theirs) and all(torch.equal(mine[n], theirs[n]) for n in mine)
    assert task.tokenizer.fingerprint == open_run(first).task.tokenizer.fingerprint
    assert task.labels == ["g", "n"] and str(task.transplant).startswith(f"{len(mine)} tensors taken from")


def test_a_readout_of_another_size_begins_fresh(first, tmp_path):
    text = MORE + "\nodd plot\tx"
    task = prepare(config_for("classify", tmp_path, text=text, model={"start_from": str(first)}))
    assert "fresh: readout.out.weight, readout.out.bias" in str(task.transplant)


def test_what_does_not_fit_is_refused(first, tmp_path):
    with pytest.raises(ConfigError, match="an override that changes sizes does not go with start_from"):
        prepare(second(first, tmp_path, model={"override": {"layer.feed_forward.d_ff": 7}}))
    with pytest.raises(ConfigError, match="no place for layers"):
        prepare(second(first, tmp_path, model={"override": {"n_layers": 0}}))
    with pytest.raises(ConfigError, match=r"has no 'layers\.1\."):
        prepare(second(first, tmp_path, model={"override": {"n_layers": 2}}))
    with pytest.raises(CheckpointError, match="there is no such folder"):
        prepare(second(first / "nowhere", tmp_path))


def test_frozen_parts_stay(first, tmp_path):
    config = second(first, tmp_path, training=steps(freeze=["embedding", "layers.0.mixer"]))
    before = {n: p.clone() for n, p in prepare(config).model.named_parameters()}
    train(prepare(config), config.training, tmp_path / "run")
    for name, p in jorip.load(tmp_path / "run").named_parameters():
        frozen = name.startswith(("embedding.", "layers.0.mixer."))
        assert torch.equal(p, before[name]) == frozen, name


LORA = {"lora": {"rank": 2, "targets": ["q", "v", "down"], "dropout": 0.25}}


def test_lora_trains_little_and_keeps_an_ordinary_model(first, tmp_path):
    config = second(first, tmp_path, model=LORA, training=steps())
    task = prepare(config)
    trained = {n for n, p in task.model.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in n or n.startswith("readout.") for n in trained)
    train(task, config.training, tmp_path / "run")
    kept, source = jorip.load(tmp_path / "run"), jorip.load(first)
    assert kept.spec == task.model.spec
    changed = {n for (n, a), b in zip(kept.named_parameters(), source.parameters()) if not torch.equal(a, b)}
    assert {n for n in changed if not n.startswith("readout.")} == {
        "layers.0.mixer.q.weight", "layers.0.mixer.v.weight", "layers.0.feed_forward.down.weight"
    }  # fmt: skip
    tokens = torch.randint(6, 12, (2, 5))
    torch.testing.assert_close(kept(tokens).logits, task.model.eval()(tokens).logits)


def test_lora_resumes_exactly(first, tmp_path):
    config = second(first, tmp_path, model=LORA, training=steps())
    train(prepare(config), config.training, tmp_path / "whole")
    failpoints.arm("step.end:2:term")
    with pytest.raises(Interrupted):
        train(prepare(config), config.training, tmp_path / "cut")
    failpoints.arm("")
    train(prepare(config), config.training, tmp_path / "cut")
    whole, cut = (jorip.load(tmp_path / n).state_dict() for n in ("whole", "cut"))
    assert all(torch.equal(t, cut[n]) for n, t in whole.items())


def test_lora_says_what_it_cannot(first, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="there is no linear map called 'query'"):
        prepare(second(first, tmp_path, model={"lora": {"targets": ["query"]}}))
    with pytest.raises(ConfigError, match=r"training\.average does not go with merged weights"):
        config = second(first, tmp_path, model=LORA, training=steps(average=0.9))
        train(prepare(config), config.training, tmp_path / "run")
    with pytest.raises(ConfigError, match="lora adapts a trained model: it needs start_from"):
        config_for("classify", tmp_path, model=LORA)
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ConfigError, match=r"needs the package peft: pip install 'jorip\[lora\]'"):
        prepare(second(first, tmp_path, model=LORA))


def test_learned_positions_are_repeated_for_longer_texts(tmp_path):
    learned = {"max_len": 20, "position": "learned"}
    config = config_for("classify", tmp_path, model={"override": {**SMALL["encoder-small"], **learned}})
    train(prepare(config), config.training, tmp_path / "short")
    longer = {"max_len": 50, "layer.mixer.mechanism": {"local": {"window": 8}}}
    task = prepare(second(tmp_path / "short", tmp_path, model={"override": longer}))
    table = jorip.load(tmp_path / "short").position.weight
    assert torch.equal(task.model.position.weight, torch.cat([table, table, table[:10]]))
    assert "repeated to its new length: position.weight" in str(task.transplant) and task.limit == 50
