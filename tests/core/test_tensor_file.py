import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from jorip.core.errors import CheckpointError, ResourceError
from jorip.core.tensor_file import Digest, TensorFile, finite, once, write


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


def raw(path, header, data: bytes = b"\0" * 16):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(start, stop, shape=None, dtype="F32"):
    return {"dtype": dtype, "shape": [(stop - start) // 4] if shape is None else shape, "data_offsets": [start, stop]}


HUGE = {"dtype": "F32", "shape": [10**18, 10**18, 0], "data_offsets": [16, 16]}


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"a": entry(0, 8), "b": entry(4, 16)}, "'b' overlaps 'a'"),
        ({"a": entry(0, 8), "b": entry(0, 16)}, "'b' overlaps 'a'"),
        ({"a": entry(0, 4), "b": entry(8, 16)}, "4 bytes before 'b' belong to nothing"),
        ({"a": entry(0, 32)}, "its tensors end at byte 32 of 16: it is cut off, or too long"),
        ({"a": entry(0, 8)}, "its tensors end at byte 8 of 16"),
        ({"a": entry(0, 16, [5])}, r"'a' has 16 bytes, F32 of \[5\] needs 20"),
        ({"a": entry(16, 0, [4])}, r"'a' has -16 bytes"),
        ({"a": entry(0, 16, [-4])}, "'a' has no type, shape and place"),
        ({"a": entry(0, 16, [True, 4])}, "'a' has no type, shape and place"),
        ({"a": entry(0, 16) | {"more": 1}}, "'a' has no type, shape and place"),
        ({"a": [1]}, "'a' has no type, shape and place"),
        ({"a": entry(0, 16, dtype="F8_E4M3")}, "'a' has type F8_E4M3, known are F64, F32"),
        ({"a": entry(0, 16), "b": HUGE}, "'b' has 3 dimensions"),
        ({"a": entry(0, 16), "__metadata__": {"a": 1}}, "its metadata is not a mapping of names to texts"),
        ([1], "its header is a list"),
        (b'{"a": {}, "a": {}}', "'a' is there twice"),
        (b"{" * 9, "Expecting"),
        (b'{"\xff": 1}', "utf-8"),
    ],
)
def test_headers_that_lie(header, says, tmp_path):
    with pytest.raises(CheckpointError, match=rf"x.safetensors: not a readable safetensors file \(.*{says}"):
        TensorFile(raw(tmp_path / "x.safetensors", header))


@pytest.mark.parametrize("length", [0, 5, 9, 20, 60, -1])
def test_files_that_are_cut_off(length, tmp_path):
    path = raw(tmp_path / "x.safetensors", {"a": entry(0, 16)})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="cut off"):
        TensorFile(path)


def test_a_header_that_claims_too_much(tmp_path):
    path = tmp_path / "x.safetensors"
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", 1 << 30))
        f.truncate(2 << 30)  # takes no disk
    with pytest.raises(CheckpointError, match="its header claims 1073741824 bytes"):
        TensorFile(path)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3))
def test_flipped_bytes_of_the_header_are_harmless_or_an_error(tmp_path_factory, flips):
    path = tmp_path_factory.getbasetemp() / "flip.safetensors"
    write(path, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bool)}, {"k": "v"})
    found = bytearray(path.read_bytes())
    for place, value in flips:
        found[place % len(found)] = value
    path.write_bytes(found)
    try:
        file = TensorFile(path)
        tensors = {name: file.read(name) for name in file.types}
    except CheckpointError as e:
        assert "flip.safetensors" in str(e)
        return
    assert all(tuple(t.shape) == file.shapes[n] and t.dtype == file.dtype(n) for n, t in tensors.items())
    file.close()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_finite_sees_every_place(dtype):
    t = torch.zeros(3, 1001, dtype=dtype)
    assert finite(t) and finite(t[:0]) and finite(t[0, 0]) and finite(t.long())
    for place in (0, 500, 1000):
        for bad in (torch.nan, torch.inf, -torch.inf):
            worse = t.clone()
            worse[1, place] = bad
            assert not finite(worse) and not finite(worse.T)


def test_a_view_takes_no_memory_of_its_own(tmp_path):
    path = tmp_path / "x.safetensors"
    write(path, {"a": torch.ones(1000)}, {})
    file = TensorFile(path)
    assert file.view("a").data_ptr() != file.read("a").data_ptr() and torch.equal(file.view("a"), file.read("a"))
    file.close()
