import hashlib
import json
import os
import shutil
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import jorip
from jorip.architectures import fill
from jorip.architectures.folder import find, load, save
from jorip.core.errors import CheckpointError, ConfigError, NonFiniteError, ResourceError

SIZES = {"vocab_size": 11, "d_model": 8, "n_layers": 1, "n_heads": 2}


def model(**changes):
    return jorip.Decoder(**SIZES | changes).build(seed=0)


def pair():
    spec = jorip.EncoderDecoder(encoder=jorip.Encoder(**SIZES), decoder=jorip.Decoder(**SIZES), share="embeddings")
    return spec.build(seed=1)


def refused(folder, *says):
    with pytest.raises(CheckpointError) as e:
        load(folder)
    for word in (str(folder), *says):
        assert word in str(e.value), str(e.value)


@pytest.fixture
def saved(tmp_path):
    return save(model(), tmp_path / "m")


@pytest.mark.parametrize("make", [model, pair, lambda: model(readout=jorip.LanguageModel(tied=False, bias=True))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_there_and_back_is_the_same(make, dtype, tmp_path):
    before = make().to(dtype)
    after = load(save(before, tmp_path / "a" / "m"))
    assert after.spec == before.spec and not any(m.training for m in after.modules())
    a, b = before.state_dict(), after.state_dict()
    assert list(a) == list(b) and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)
    assert [n for n, _ in before.named_parameters()] == [n for n, _ in after.named_parameters()]  # ties are ties again
    assert all(p.requires_grad and p.device.type == "cpu" for p in after.parameters())
    assert sorted(os.listdir(tmp_path / "a")) == ["m"] and sorted(os.listdir(tmp_path / "a" / "m")) == [
        "model.safetensors",
        "spec.json",
    ]


def test_a_loaded_model_runs_and_trains(saved):
    tokens = torch.tensor([[1, 2, 3]])
    after = load(str(saved))
    assert torch.equal(after(tokens).logits, model().eval()(tokens).logits)
    after.train()(tokens, targets=tokens).loss[0].backward()
    assert all(p.grad is not None for p in after.parameters())


def test_shared_tensors_are_stored_once(tmp_path):
    stored = load_file(save(pair(), tmp_path / "m") / "model.safetensors")
    assert len(stored) == len(list(pair().parameters()))
    assert "encoder.embedding.tokens.weight" in stored and "decoder.readout.out.weight" not in stored


def test_saving_again_replaces_and_keeps_other_files(saved):
    (saved / "tokenizer.json").write_text("{}", encoding="utf-8")
    other = jorip.Decoder(**SIZES).build(seed=9)
    save(other, saved)
    assert torch.equal(load(saved).embedding.tokens.weight, other.embedding.tokens.weight)
    assert sorted(os.listdir(saved)) == ["model.safetensors", "spec.json", "tokenizer.json"]


def test_interrupted_between_the_two_files_is_noticed(saved, monkeypatch):
    replace = os.replace

    def stop(a, b):
        if Path(b).name == "spec.json":
            raise KeyboardInterrupt
        replace(a, b)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save(model(norm=None), saved)
    with pytest.raises(KeyboardInterrupt):
        save(model(norm=jorip.RmsNorm()), saved)
    assert os.listdir(saved.parent) == ["m"]
    refused(saved)


def test_a_full_disk_is_said_and_the_old_folder_stays(saved, monkeypatch):
    before = (saved / "model.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="No space left on device"):
        save(model(), saved)
    assert (saved / "model.safetensors").read_bytes() == before and os.listdir(saved.parent) == ["m"]


def test_saving_refuses_what_is_no_good(tmp_path):
    broken = model()
    with torch.no_grad():
        broken.norm.weight[0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"these weights are not finite: norm\.weight"):
        save(broken, tmp_path / "m")
    with pytest.raises(ConfigError, match="there is no format 'joripp'; did you mean 'jorip'"):
        save(model(), tmp_path / "m", format="joripp")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ResourceError, match="cannot write"):
        save(model(), tmp_path / "file" / "m")
    assert os.listdir(tmp_path) == ["file"]


# what does not belong to the model


def rewrite(folder, change, metadata=None):
    """The weights with something else in them, without the checksum of `save`."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata)


def test_missing_and_unexpected_weights_are_listed_with_the_closest(saved):
    rewrite(saved, lambda t: t.update({"norm.wait": t.pop("norm.weight")}))
    refused(
        saved, "no weight for 'norm.weight' (closest: 'norm.wait')", "no parameter for 'norm.wait' (closest: 'norm.w"
    )


def test_wrong_shapes_types_and_ties_are_named(saved, tmp_path):
    start = shutil.copytree(saved, tmp_path / "start")

    def again():
        shutil.copytree(start, saved, dirs_exist_ok=True)

    rewrite(saved, lambda t: t.update({"norm.bias": torch.zeros(9)}))
    refused(saved, "'norm.bias' has shape (9,), the model has (8,)")
    again()
    rewrite(saved, lambda t: t.update({"norm.bias": torch.zeros(8, dtype=torch.int64)}))
    refused(saved, "'norm.bias' has type torch.int64, the model has torch.float32")
    again()
    rewrite(saved, lambda t: t.update({"norm.bias": torch.zeros(8, dtype=torch.int8)}))
    refused(saved, "'norm.bias' has type I8, known are F64")
    again()
    rewrite(saved, lambda t: t.update({"readout.out.weight": torch.zeros(11, 8)}))
    refused(saved, "'readout.out.weight' differs from 'embedding.tokens.weight', and this model shares them")
    again()
    rewrite(saved, lambda t: t.update({"readout.out.weight": torch.zeros(1)}))
    refused(saved, "'readout.out.weight' has shape (1,), the model has (11, 8)")
    again()
    rewrite(saved, lambda t: None, {"alias:norm.bias": "norm.weight"})
    refused(saved, "shares 'norm.bias' with 'norm.weight', and this model does not")
    again()
    rewrite(saved, lambda t: t.update({"readout.out.weight": t["embedding.tokens.weight"].clone()}))
    tied = load(saved)
    assert tied.readout.out.weight is tied.embedding.tokens.weight


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_named(saved, value):
    rewrite(saved, lambda t: t["norm.bias"].fill_(value))
    refused(saved, "not finite: norm.bias")


def test_a_flipped_byte_of_data_or_spec_is_noticed(saved):
    path = saved / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    refused(saved, "damaged: it or spec.json is not as it was saved")
    raw[-1] ^= 1
    path.write_bytes(raw)
    load(saved)
    spec = (saved / "spec.json").read_text(encoding="utf-8")
    (saved / "spec.json").write_text(spec.replace('"n_heads": 2', '"n_heads": 4'), encoding="utf-8")
    refused(saved, "damaged: it or spec.json is not as it was saved")


def test_memory_is_checked_before_it_is_taken(saved, monkeypatch):
    monkeypatch.setattr(fill, "available_memory", lambda: 1000)
    with pytest.raises(ResourceError, match="GiB of weights"):
        load(saved)


# files that are not what they should be


def header(size, text):
    return struct.pack("<Q", size) + text


F32 = {"dtype": "F32", "shape": [2]}
HEADERS = {
    "empty": b"",
    "short": b"\0" * 9,
    "huge": header(2**63, b"{}"),
    "larger than the file": header(100, b"{}"),
    "not JSON": header(2, b"[{"),
    "overlapping": header(
        n := len(t := json.dumps({"a": F32 | {"data_offsets": [0, 8]}, "b": F32 | {"data_offsets": [4, 12]}}).encode()),
        t,
    )
    + b"\0" * 12,
    "beyond the end": header(n := len(t := json.dumps({"a": F32 | {"data_offsets": [0, 8]}}).encode()), t) + b"\0" * 4,
    "not contiguous": header(n := len(t := json.dumps({"a": F32 | {"data_offsets": [8, 16]}}).encode()), t)
    + b"\0" * 16,
    "bytes after the end": header(n := len(t := json.dumps({"a": F32 | {"data_offsets": [0, 8]}}).encode()), t)
    + b"\0" * 9,
    "overflowing": header(
        n := len(t := json.dumps({"a": F32 | {"shape": [2**62, 4], "data_offsets": [0, 0]}}).encode()), t
    ),
}


@pytest.mark.parametrize("raw", HEADERS.values(), ids=HEADERS)
def test_broken_safetensors_are_refused(saved, raw):
    (saved / "model.safetensors").write_bytes(raw)
    refused(saved, "not a readable safetensors file")


def test_a_huge_header_is_refused_before_it_is_read(saved):
    with open(saved / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", 1 << 30))
        f.truncate((1 << 30) + 8)  # sparse
    refused(saved, "its header claims 1073741824 bytes")


SPECS = {
    "not JSON": (b"{", "not valid JSON"),
    "not UTF-8": (b'"\xff"', "not valid JSON"),
    "deep": (b"[" * 100_000, "not valid JSON"),
    "a list": (b"[]", "a spec is a mapping, found list"),
    "nothing": (b"{}", "is written as a name or {name: {fields}}"),
    "unknown": (b'{"decodr": {"vocab_size": 3}}', "did you mean 'decoder'"),
    "unknown field": (b'{"decoder": {"vocab_size": 3, "n_layer": 2}}', "did you mean 'n_layers'"),
    "NaN": (b'{"decoder": {"vocab_size": NaN}}', "NaN is not a number of JSON"),
    "newer": (b'{"format": 99, "decoder": {"vocab_size": 3}}', "install a newer jorip"),
    "many layers": (b'{"decoder": {"vocab_size": 11, "n_layers": 4000}}', "8000 sub-layers, but the file has"),
    "wide": (b'{"decoder": {"vocab_size": 16777216, "d_model": 131072, "n_layers": 1}}', "has shape"),
    "refused": (
        b'{"decoder": {"vocab_size": 11, "d_model": 9, "n_layers": 1}}',
        "d_model must be a multiple of n_heads",
    ),
    "large": (b" " * (5 << 20), "too large to be a spec.json"),
}


@pytest.mark.parametrize(("raw", "says"), SPECS.values(), ids=SPECS)
def test_malformed_specs_are_refused(saved, raw, says):
    (saved / "spec.json").write_bytes(raw)
    refused(saved, says)


def test_a_folder_without_a_spec_or_weights_says_so(saved, tmp_path):
    (saved / "spec.json").unlink()
    refused(saved, "spec.json: missing")
    (saved / "model.safetensors").unlink()
    refused(saved, "holds no model.safetensors")
    (tmp_path / "model-1").mkdir()
    refused(tmp_path / "model-2", "there is no such folder; did you mean 'model-1'?")
    refused(tmp_path / "a" / "b", "there is no such folder")
    (tmp_path / "file.safetensors").write_bytes(b"")
    refused(tmp_path / "file.safetensors", "is a file: give the folder")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "last.ckpt"])
def test_pickles_are_refused_with_a_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    for path in (tmp_path, tmp_path / name):
        refused(path, f"{name} is a pickle, which can run any code", "weights_only=True")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_happens_to_the_bytes_only_a_checkpoint_error_escapes(saved, data):
    path = saved / data.draw(st.sampled_from(["model.safetensors", "spec.json"]))
    good = path.read_bytes()
    start = int.from_bytes(good[:8], "little") + 8 if path.suffix == ".safetensors" else len(good)
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        how = data.draw(st.sampled_from(["flip", "cut", "insert", "replace"]))
        at = data.draw(st.integers(0, max(min(len(raw), start) - 1, 0)))  # mostly what has structure
        if how == "flip" and raw:
            raw[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "cut":
            del raw[at : at + data.draw(st.integers(1, 40))]
        else:
            some = data.draw(
                st.binary(max_size=8) | st.sampled_from([b"{", b'"', b"[", b"0", b"-1", b"999999999999", b"null"])
            )
            raw[at : at + (len(some) if how == "replace" else 0)] = some
    path.write_bytes(raw)
    try:
        after = load(saved)
    except CheckpointError as e:
        assert str(saved) in str(e)
    else:  # what was hit is not read: the numbers are the same
        assert all(torch.equal(a, b) for a, b in zip(after.state_dict().values(), model().state_dict().values()))
    finally:
        path.write_bytes(good)


# a trainer's folders


def checkpoint(run, step, seed, manifest=True):
    """As the trainer writes them: no checksum in the weights, a manifest beside them."""
    folder = run / "ckpt" / f"step-{step:08d}"
    save(jorip.Decoder(**SIZES).build(seed=seed), folder)
    rewrite(folder, lambda t: None, {"format": "pt", "alias:readout.out.weight": "embedding.tokens.weight"})
    if manifest:
        sums = {p.name: {"sha256": hashlib.sha256(p.read_bytes()).hexdigest()} for p in folder.iterdir()}
        (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": sums}), encoding="utf-8")
    return folder


def test_a_run_gives_its_best_checkpoint_or_its_newest(tmp_path):
    refused_run = tmp_path / "none"
    (refused_run / "ckpt").mkdir(parents=True)
    refused(refused_run, "this run has no checkpoint yet: train first")
    first, second = checkpoint(tmp_path, 20, 1), checkpoint(tmp_path, 100, 2)
    (tmp_path / "ckpt" / "step-00000300.tmp-12345678").mkdir()
    assert find(tmp_path) == second and find(first) == first
    best = tmp_path / "ckpt" / "best.json"
    best.write_text(json.dumps({"name": first.name, "step": 20}), encoding="utf-8")
    assert find(tmp_path) == first
    expected = jorip.Decoder(**SIZES).build(seed=1)
    assert torch.equal(load(tmp_path).embedding.tokens.weight, expected.embedding.tokens.weight)
    for wrong in ('{"name": "../x"}', "[]", "{", '{"name": 3}'):
        best.write_text(wrong, encoding="utf-8")
        refused(tmp_path, "best.json", "damaged")
    best.write_text('{"name": "step-00000007"}', encoding="utf-8")
    refused(tmp_path, "the best checkpoint step-00000007 is missing")


def test_a_checkpoint_is_checked_against_its_manifest(tmp_path):
    folder = checkpoint(tmp_path, 20, 1)
    load(folder)
    raw = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    refused(folder, "model.safetensors: damaged: its sha256 is not the one that was written")
    (folder / "model.safetensors").write_bytes(raw)
    for wrong in ("{", "[]", "{}", '{"files": {"spec.json": []}}'):
        (folder / "manifest.json").write_text(wrong, encoding="utf-8")
        refused(folder, "manifest.json: damaged")
    save(load_without(folder), folder)
    assert not (folder / "manifest.json").exists()
    load(folder)


def load_without(folder):
    (folder / "manifest.json").unlink()
    return load(folder)
