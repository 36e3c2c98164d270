import pytest
import torch
from safetensors.torch import load_file

from jorip.core.errors import CheckpointError, ResourceError
from jorip.core.tensor_file import Digest, TensorFile, once, write


def test_shared_overlapping_and_odd_tensors_are_written_as_they_look(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "a": whole,
        "b": whole,
        "row": whole[1],
        "turned": whole.T,
        "none": torch.zeros(0),
        "one": torch.ones(()),
    }
    path = tmp_path / "x.safetensors"
    write(path, tensors, {"k": "v"})
    file = TensorFile(path)
    assert file.aliases == {"b": "a"} and file.metadata["k"] == "v" and "b" not in file.types
    assert all(torch.equal(file.read(n), t) for n, t in tensors.items() if n != "b")
    assert file.shapes["turned"] == (4, 3) and file.dtype("a") == torch.float32
    file.close()
    assert load_file(path).keys() == once(tensors)[0].keys()
    assert path.stat().st_mode & 0o444 == tmp_path.stat().st_mode & 0o444


def test_what_was_read_outlives_the_file(tmp_path):
    path = tmp_path / "x.safetensors"
    write(path, {"a": torch.ones(1000)}, {})
    file = TensorFile(path)
    t = file.read("a")
    with pytest.raises(CheckpointError, match="cannot read 'b'"):
        file.read("b")
    file.close()
    path.write_bytes(b"")
    assert torch.equal(t, torch.ones(1000))


def test_the_digest_sees_names_types_shapes_and_values():
    def of(name, t):
        digest = Digest()
        digest.tensor(name, t)
        return digest.hex()

    a = torch.arange(4.0)
    others = [("b", a), ("a", a.double()), ("a", a.reshape(2, 2)), ("a", a + 1), ("a", a.flip(0))]
    assert len({of("a", a), *(of(*o) for o in others)}) == 6
    assert of("a", a) == of("a", a.clone()) == of("a", torch.arange(8.0)[:4])
    assert of("n", torch.zeros(0)) != of("n", torch.zeros(())) and of("n", a.bfloat16())


def test_a_disk_that_cannot_take_it_is_a_resource_error(tmp_path):
    with pytest.raises(ResourceError, match="cannot write"):
        write(tmp_path / "no" / "x.safetensors", {"a": torch.ones(1)}, {})
