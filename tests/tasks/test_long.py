"""Texts longer than the model: head, head and tail, windows pooled as one text."""

import pytest
import torch

from jorip.core.errors import ConfigError, DataError
from jorip.core.layout import Layout, Packed
from jorip.tasks.config import ModelConfig
from jorip.tasks.long import head_tail, windows
from jorip.tasks.run import open_run, prepare
from jorip.training.start import train
from tests.tasks.test_tasks import config_for


def test_head_and_tail():
    ids = list(range(100))
    assert head_tail(ids, 8) == [0, 1, 94, 95, 96, 97, 98, 99]
    assert head_tail(ids[:8], 8) == ids[:8] and head_tail(ids, 1) == [99] and head_tail(ids, 0) == []


@pytest.mark.parametrize(
    ("n", "room", "stride"), [(10, 4, None), (10, 4, 4), (10, 4, 9), (4, 4, 1), (0, 4, None), (5, 1, None)]
)
def test_windows_leave_nothing_out(n, room, stride):
    found = windows(list(range(n)), room, stride)
    assert {i for w in found for i in w} == set(range(n)) and all(len(w) <= room for w in found)
    assert len(found) == len(windows(list(range(n)), room, stride)) >= 1


LONG = "\n".join(
    f"{'so ' * i}{w}{' it is' * i}\t{label}" for i, (w, label) in enumerate(zip(["good", "bad"] * 8, "pn" * 8))
)


def long_config(tmp_path, **data):
    config = config_for("classify", tmp_path, text=LONG)
    return config.model_copy(update={"data": config.data.model_copy(update={"max_len": 20, **data})})


@pytest.mark.parametrize("strategy", ["head", "head_tail", "windows", "hierarchical"])
def test_a_run_with_each_strategy(strategy, tmp_path):
    config = long_config(tmp_path, long=strategy)
    task = prepare(config)
    assert task.model.spec.vocab_size == task.tokenizer.vocab_size and len(task.train) == 16
    train(task, config.training, tmp_path / "run")
    opened = open_run(tmp_path / "run")
    assert 0 <= opened.evaluate("test")["accuracy"] <= 1
    (row,) = opened.predict(["so so so so so so so so good it is"])
    assert row["prediction"] in ("p", "n") and opened.task.cut == strategy.startswith("head")


def test_hierarchical_needs_an_encoder(tmp_path):
    """A decoder's layers would read both sides, which it never learned."""
    config = long_config(tmp_path, long="hierarchical")
    model = ModelConfig(recipe="decoder-small", override=config.model.override)
    with pytest.raises(
        ConfigError, match=r"data\.long: hierarchical stands on an encoder, found a decoder, whose tokens"
    ):
        prepare(config.model_copy(update={"model": model}))


def test_windows_are_decided_together(tmp_path):
    """Mean pooling over all windows, each read alone: the same as by hand; a batch does not change it."""
    task = prepare(long_config(tmp_path, long="windows", stride=7))
    model = task.model.double().eval()
    ids = [3, 9, 15]
    batch = task.train.take(ids)
    together = model(task.read_of(batch), **task.more(batch)).logits
    for i, row in zip(ids, together):
        alone = task.train.take([i])
        torch.testing.assert_close(model(task.read_of(alone), **task.more(alone)).logits[0], row)
        hidden = [model(w[None]).hidden[0] for w in task.read_of(alone).split()]
        torch.testing.assert_close(model.readout.out(torch.cat(hidden).mean(0)), row)


def test_what_windows_cannot(tmp_path):
    with pytest.raises(ConfigError, match=r"windows needs data\.max_len, the length of a window"):
        prepare(long_config(tmp_path, long="windows", max_len=None))
    with pytest.raises(DataError, match=r"groups of \[1, 1\] sequences are not 3"):
        Layout.of(torch.tensor([1, 2, 3])).joined(torch.tensor([1, 1]))


def test_hierarchical_reads_one_row_per_window(tmp_path):
    """The upper stack sees the windows' means in order; a document alone gives what it gives in a batch."""
    task = prepare(long_config(tmp_path, long="hierarchical", stride=7))
    model = task.model.double().eval()
    assert model.spec.kind == "hierarchical" and any(n.startswith("upper.0.") for n, _ in model.named_parameters())
    batch = task.train.take([3, 9, 15])
    together = model(task.read_of(batch), **task.more(batch)).logits
    for i, row in zip([3, 9, 15], together):
        alone = task.train.take([i])
        torch.testing.assert_close(model(task.read_of(alone), **task.more(alone)).logits[0], row)
    one = task.train.take([15])
    swapped = task.read_of(one).split()[::-1]
    other = model(Packed.cat(swapped), documents=torch.tensor([len(swapped)])).logits
    assert not torch.allclose(other, together[2])  # the order of windows matters


def test_hierarchical_starts_from_an_encoder(tmp_path):
    first = config_for("classify", tmp_path)
    train(prepare(first), first.training, tmp_path / "first")
    config = long_config(tmp_path, long="hierarchical")
    config = config.model_copy(update={"model": ModelConfig(start_from=str(tmp_path / "first"))})
    task = prepare(config)
    assert "fresh: upper." in str(task.transplant)
    train(task, config.training, tmp_path / "second")
    assert open_run(tmp_path / "second").predict(["so good"])[0]["prediction"] in ("p", "n")
