import pytest
import torch
from torch import nn

from jorip.core.errors import CheckpointError
from jorip.training.tensors import load_weights, not_finite, read_tensors, tensor_bytes, write_tensors
from tests.training.toy import ToyModel, weights_hash


def test_tied_weights_are_stored_once_and_come_back(tmp_path):
    model, other = ToyModel(), ToyModel()
    tensors = dict(model.state_dict())
    write_tensors(tmp_path / "model.safetensors", tensors)
    found = read_tensors(tmp_path / "model.safetensors")
    assert found.keys() == tensors.keys()
    assert found["out.weight"].data_ptr() == found["embedding.weight"].data_ptr()
    assert tensor_bytes(tensors) == sum(p.numel() for p in model.parameters()) * 4 + 8
    load_weights(other, tmp_path)
    assert weights_hash(other) == weights_hash(model)
    assert other.out.weight is other.embedding.weight


def test_file_modes_follow_the_folder(tmp_path):
    tmp_path.chmod(0o755)
    write_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)})
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o644


def test_every_difference_is_named(tmp_path):
    write_tensors(
        tmp_path / "model.safetensors", dict(nn.Linear(2, 3, bias=False).state_dict()) | {"x": torch.zeros(1)}
    )
    with pytest.raises(CheckpointError) as e:
        load_weights(nn.Linear(2, 4), tmp_path)
    text = str(e.value)
    assert "does not belong to this model" in text
    assert "the model has no 'x'" in text and "the file has no 'bias'" in text
    assert "'weight' is (3, 2) in the file and (4, 2) in the model" in text


def test_not_a_safetensors_file(tmp_path):
    (tmp_path / "x").write_bytes(b"\x80\x04pickle")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        read_tensors(tmp_path / "x")


def test_not_finite():
    bad = torch.tensor([0.0, float("nan")])
    assert not_finite({"a": torch.ones(2), "b": bad, "c": torch.ones(2, dtype=torch.int64)}) == ["b"]
