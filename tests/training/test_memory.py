import pytest
import torch

from jorip.core.errors import ResourceError
from jorip.training import TrainConfig, read_events, read_tensors, train
from jorip.training.memory import out_of_memory
from tests.training.forks import template
from tests.training.toy import ToyTask


class Small(ToyTask):
    """A machine that holds so many tokens."""

    limit = 30
    error: type[Exception] = torch.OutOfMemoryError
    text = "no room"

    def loss(self, model, batch, key, label_smoothing):
        if model.training and batch["tokens"].values.numel() > self.limit:
            raise self.error(self.text)
        return super().loss(model, batch, key, label_smoothing)


class SmallCpu(Small):
    error = RuntimeError
    text = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried ..."


@pytest.mark.parametrize("kind", [Small, SmallCpu])
def test_the_micro_batch_halves_and_the_result_is_the_same(kind, tmp_path, capsys):
    config = TrainConfig(steps=12, seed=2)
    a, b = ToyTask(dtype=torch.float64), kind(dtype=torch.float64)
    train(a, config, tmp_path / "a")
    train(b, config, tmp_path / "b")
    for name, t in read_tensors(tmp_path / "a/ckpt/step-00000012/model.safetensors").items():
        torch.testing.assert_close(dict(b.model.state_dict())[name], t, rtol=0, atol=1e-12)
    told = [e for e in read_events(tmp_path / "b") if e["kind"] == "memory"]
    assert told and told[-1]["micro_tokens"] <= 30
    assert "tokens at once; going on with" in capsys.readouterr().err


@pytest.mark.parametrize("bf16", [True, False])
def test_one_example_that_does_not_fit(bf16, tmp_path, monkeypatch):
    """Also where precision is measured first, which must not say less."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16})
    task = Small()
    task.limit = 5
    with pytest.raises(
        ResourceError, match=r"already cut to single examples, the longest of \d+ tokens: use shorter examples"
    ) as e:
        train(task, TrainConfig(steps=2), tmp_path / "run")
    assert e.value.exit_code == 6


def test_out_of_memory_elsewhere(tmp_path):
    class Evaluates(ToyTask):
        def validate(self, model):
            raise torch.OutOfMemoryError("no room for this")

    with pytest.raises(ResourceError, match="out of memory: no room for this: take a smaller model"):
        train(Evaluates(), TrainConfig(steps=1), tmp_path / "run")


@pytest.mark.parametrize("room", [10, 1])  # 1: not even the shortest example, on which unused parameters are looked for
def test_several_processes_cannot_change_it_under_way(room, tmp_path):
    answer = template().run(tmp_path / "run", {"steps": 2}, ranks=2, task={"room": room})
    assert answer["codes"] == [6, 6], answer["stderr"]
    assert "Several processes cannot change this under way: set training.micro_tokens to" in answer["stderr"]


def test_other_errors_pass(tmp_path):
    class Broken(ToyTask):
        def loss(self, model, batch, key, label_smoothing):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(Broken(), TrainConfig(steps=1), tmp_path / "run")
    assert out_of_memory(MemoryError()) and not out_of_memory(RuntimeError("x"))
