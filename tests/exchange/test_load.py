"""Loading Hugging Face folders: in one file or in shards, in any types, with everything accounted for."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import jorip
from jorip.exchange.load import look
from jorip.exchange.report import size, wrapped
from jorip.exchange.shards import open_weights
from tests.exchange.folders import ALL, make, put, reweigh, same, theirs


@pytest.mark.parametrize("kind", ALL)
def test_every_family_there_and_back(kind, tmp_path):
    folder = make(tmp_path / "a", kind)
    model = jorip.load(folder)
    assert not model.training and all(p.requires_grad for p in model.parameters())
    back = jorip.save(model, tmp_path / "b", format="hf")
    assert (back / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    again = jorip.load(back)
    assert again.spec == model.spec and same(again, model)


@pytest.mark.parametrize("kind", ALL)
def test_the_report_has_every_field_and_every_key(kind, tmp_path):
    config, tensors = theirs(kind)
    model = jorip.load(put(tmp_path / "a", config | {"bos_token_id": 1}, tensors))
    found = model.origin.account
    assert {f["name"] for f in found["fields"] if not f["missing"]} == set(config | {"bos_token_id": 1}) - {
        "architectures",
        "model_type",
    }
    assert sum(k["keys"] for k in found["keys"]) == found["tensors"] == len(tensors)
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    report = model.origin.report
    for word in (*config, *(k["theirs"] for k in found["keys"]), f"{found['parameters']:,} parameters", "bos_token_id"):
        assert word in report or word in ("architectures", "model_type"), word


def test_what_the_report_says(tmp_path):
    config, tensors = theirs("gpt2")
    tensors |= {"transformer.h.0.attn.bias": torch.ones(1, 1, 16, 16, dtype=torch.uint8)}
    tensors |= {"lm_head.weight": tensors["transformer.wte.weight"].clone()}
    del config["layer_norm_epsilon"]
    model = jorip.load(put(tmp_path / "a", config, tensors))
    lines = [" ".join(line.split()) for line in model.origin.lines]
    assert lines[0] == f"{tmp_path / 'a'}: gpt2, GPT2LMHeadModel"
    assert "n_embd 8 -> d_model" in lines
    assert "lm_head 1 tied to wte" in lines
    assert any(line.startswith("h.{layer}.attn.bias 1 ignored: ") for line in lines)
    assert (
        "h.{layer}.attn.c_attn 4 -> layers.{layer}.mixer.q, layers.{layer}.mixer.k, layers.{layer}.mixer.v (split)"
        in lines
    )
    assert any(line.startswith("not in the file, so the family's own: ") and "layer_norm_epsilon 1e-05" in line
               for line in lines)  # fmt: skip
    assert any(line.startswith("model.safetensors: 30 tensors, 6.") for line in lines)


def test_quirks_are_named(tmp_path):
    assert any(line.startswith("note: ") for line in jorip.load(make(tmp_path / "a", "llama")).origin.lines)


def test_sizes_and_long_lists_for_people():
    assert [size(n) for n in (0, 999, 1000, 5_400_000, 2e9, 3e15)] == [
        "0 bytes", "999 bytes", "1.0 kB", "5.4 MB", "2.0 GB", "3,000.0 TB",
    ]  # fmt: skip
    lines = wrapped("  head: ", [f"word{i}" for i in range(40)])
    assert len(lines) > 2 and all(len(line) <= 112 for line in lines) and lines[-1].endswith("word39")


def test_look_reads_no_weights(tmp_path):
    folder = make(tmp_path / "a")
    model = jorip.load(folder)
    reweigh(folder, lambda t: t.update({n: torch.full_like(x, torch.nan) for n, x in t.items()}))
    spec, origin = look(folder)
    assert spec == model.spec and origin.account == model.origin.account


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_types_of_the_file_stay(dtype, tmp_path):
    config, tensors = theirs("gpt2")
    tensors = {n: t.to(dtype) for n, t in tensors.items()}
    model = jorip.load(put(tmp_path / "a", config, tensors))
    assert {p.dtype for p in model.parameters()} == {dtype}
    out = model(torch.tensor([[1, 2, 3]])).logits
    assert out.dtype == dtype and bool(torch.isfinite(out).all())
    back = jorip.save(model, tmp_path / "b", format="hf")
    assert json.loads((back / "config.json").read_text("utf-8"))["dtype"] == str(dtype).removeprefix("torch.")
    assert (back / "model.safetensors").read_bytes() == (tmp_path / "a" / "model.safetensors").read_bytes()


def test_mixed_types_stay_mixed(tmp_path):
    config, tensors = theirs("t5")
    tensors = {n: t if "wo" in n else t.bfloat16() for n, t in tensors.items()}
    model = jorip.load(put(tmp_path / "a", config, tensors))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16, torch.float32}
    assert model.origin.account["dtypes"].keys() == {"bfloat16", "float32"}
    for format in ("hf", "jorip"):
        assert same(jorip.load(jorip.save(model, tmp_path / format, format=format)), model)
    assert json.loads((tmp_path / "hf" / "config.json").read_text("utf-8"))["dtype"] == "bfloat16"


def shard(folder, parts: int = 3) -> None:
    """What one file holds, in several and an index, as transformers splits it."""
    tensors = load_file(folder / "model.safetensors")
    names, places = sorted(tensors), {}
    for i in range(parts):
        name = f"model-{i + 1:05}-of-{parts:05}.safetensors"
        mine = names[i::parts]
        save_file({n: tensors[n] for n in mine}, folder / name, {"format": "pt"})
        places |= dict.fromkeys(mine, name)
    (folder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def test_shards(tmp_path):
    whole = jorip.load(make(tmp_path / "a"))
    shard(make(tmp_path / "b"))
    parts = jorip.load(tmp_path / "b")
    assert same(whole, parts)
    assert "model-00001-of-00003.safetensors" in parts.origin.report


def test_one_file_goes_before_an_index(tmp_path):
    folder = make(tmp_path / "a")
    model = jorip.load(folder)
    (folder / "model.safetensors.index.json").write_text("left over", encoding="utf-8")
    assert same(jorip.load(folder), model)


def test_base_models_with_and_without_the_prefix(tmp_path):
    config, tensors = theirs("gpt2")
    for prefix in ("transformer.", ""):
        named = {n.replace("transformer.", prefix): t for n, t in tensors.items()}
        model = jorip.load(put(tmp_path / f"a{prefix}", config | {"architectures": ["GPT2Model"]}, named))
        back = jorip.save(model, tmp_path / f"b{prefix}", format="hf")
        assert load_file(back / "model.safetensors").keys() == named.keys()


def test_a_model_outlives_its_folder(tmp_path):
    folder = make(tmp_path / "a")
    model = jorip.load(folder)
    before = {n: p.clone() for n, p in model.named_parameters()}
    for path in folder.iterdir():
        path.write_bytes(b"")
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())


def test_reading_holds_no_memory_of_its_own(tmp_path):
    weights = open_weights(make(tmp_path / "a"))
    assert all(t.is_meta for t in weights.empty().values()) and len(weights.empty()) == len(weights)
    assert weights.nbytes == sum(t.nbytes for t in weights.values())
    weights.close()
