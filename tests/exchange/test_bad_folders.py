"""Folders that lie, are damaged, or would do harm: each is one clear error, and nothing in them is ever run."""

import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import jorip
from jorip.core.errors import ResourceError
from jorip.exchange import load as loading
from tests.exchange.folders import make, put, reconfigure, refused, reweigh, theirs
from tests.exchange.test_load import shard

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "m")


# weights


@pytest.mark.parametrize("keep", [0, 7, 8, 100, 3000, -1])
def test_truncated(keep, folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    refused(folder, f"{path}: not a readable safetensors file", "cut off")


def header(folder: Path, change) -> None:
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    tree = json.loads(raw[8 : 8 + n])
    change(tree)
    text = json.dumps(tree).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + n :])


FIRST, SECOND = "transformer.h.0.attn.c_attn.bias", "transformer.h.0.attn.c_attn.weight"


def test_flipped_bits_of_the_header(folder):
    path = folder / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[8] ^= 1
    path.write_bytes(raw)
    refused(folder, f"{path}: not a readable safetensors file")
    raw[8] ^= 1
    raw[7] ^= 0x40
    path.write_bytes(raw)
    refused(folder, "with a header of 4611686018427", "cut off, or not a safetensors file")


@pytest.mark.parametrize(
    ("offsets", "says"),
    [
        ([0, 96], "has 96 bytes, F32 of [8, 24] needs 768"),
        ([0, 768], "'transformer.h.0.attn.c_attn.weight' overlaps 'transformer.h.0.attn.c_attn.bias'"),
        ([10**6, 10**6 + 768], "belong to nothing"),
        ([-768, 0], "has no type, shape and place"),
        ([2**63, 2**63 + 768], "belong to nothing"),
    ],
)
def test_offsets_that_overlap_or_lead_out(offsets, says, folder):
    header(folder, lambda t: t[SECOND].update(data_offsets=offsets))
    refused(folder, "not a readable safetensors file", says)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_numbers_that_are_none(value, folder):
    reweigh(folder, lambda t: t[SECOND][3].fill_(value))
    refused(folder, f"{folder / 'model.safetensors'}: {SECOND!r} is not finite: the file is damaged")


def test_weights_that_are_no_numbers(folder):
    reweigh(folder, lambda t: t.update({FIRST: torch.ones(24, dtype=torch.int64)}))
    refused(folder, "the weight of 'layers.0.mixer.q.bias' has type torch.int64, which holds no weights")


def test_keys_that_nothing_explains(folder):
    reweigh(folder, lambda t: t.update({"transformer.h.0.atn.c_attn.weight": torch.ones(1)}))
    refused(folder, str(folder), "matched by no rule; closest is 'h.{layer}.attn.c_attn'")


def test_weights_that_are_missing(folder):
    reweigh(folder, lambda t: t.pop("transformer.ln_f.bias"))
    refused(folder, "no weight for 'norm.bias' ('transformer.ln_f.bias' there)")


def test_shapes_that_are_not_the_config_s(folder):
    refused(reconfigure(folder, n_positions=17), "'position.weight' has shape (16, 8), the model has (17, 8)")
    refused(reconfigure(folder, n_positions=16, n_embd=10), "is (24,), expected 10 + 10 + 10 outputs")


def test_names_that_are_there_twice(folder):
    text = json.dumps({"dtype": "F32", "shape": [], "data_offsets": [0, 4]})
    path = folder / "model.safetensors"
    raw = f'{{"a": {text}, "a": {text}}}'.encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + b"\0" * 4)
    refused(folder, "'a' is there twice")
    make(folder)
    path = folder / "config.json"
    path.write_text(path.read_text("utf-8")[:-1] + ', "n_embd": 8}', encoding="utf-8")
    refused(folder, f"{path}: damaged: not valid JSON ('n_embd' is there twice)")


def test_two_matrices_where_the_config_has_one(folder):
    other = torch.randn(23, 8)
    reweigh(folder, lambda t: t.update({"lm_head.weight": other}))
    refused(
        folder,
        f"{folder}: 'lm_head.weight' should be the same as 'wte.weight' and is not",
        'If both are wanted, write "tie_word_embeddings": false into config.json',
        "transformers would drop it without a word",
    )
    model = jorip.load(reconfigure(folder, tie_word_embeddings=False))
    assert torch.equal(model.readout.out.weight, other)


def test_two_matrices_where_the_family_always_has_one(tmp_path):
    folder = make(tmp_path / "m", "t5")
    copy = torch.randn(23, 8)
    reweigh(folder, lambda t: t.update({"encoder.embed_tokens.weight": copy}))
    refused(folder, "should be the same as", "t5 has no form with two: keep the one that is right")


# shards


@pytest.fixture
def shards(tmp_path):
    folder = make(tmp_path / "m")
    shard(folder)
    return folder


def reindex(folder: Path, change) -> None:
    tree = json.loads((folder / INDEX).read_text("utf-8"))
    change(tree)
    (folder / INDEX).write_text(json.dumps(tree), encoding="utf-8")


def test_a_shard_is_missing(shards):
    (shards / "model-00002-of-00003.safetensors").unlink()
    refused(shards, f"{shards / 'model-00002-of-00003.safetensors'}: missing")


@pytest.mark.parametrize(
    "name", ["../m2/model.safetensors", "/etc/passwd", "..", "", "a/b.safetensors", "..\\x.safetensors", "model.bin",
             "a\0.safetensors"]
)  # fmt: skip
def test_an_index_that_names_a_file_elsewhere(name, shards, tmp_path):
    make(tmp_path / "m2")
    reindex(shards, lambda t: t["weight_map"].update({FIRST: name}))
    refused(shards, f"{shards / INDEX}: names {name!r}, which is no safetensors file in this folder")


def test_links_that_lead_out(shards, tmp_path):
    name = "model-00001-of-00003.safetensors"
    os.rename(shards / name, tmp_path / "elsewhere.safetensors")
    (shards / name).symlink_to(tmp_path / "elsewhere.safetensors")
    refused(shards, f"{shards / name}: is a link that leads out of the folder", "copy the file")


def test_links_of_the_hub_s_cache_are_followed(shards, tmp_path):
    home = tmp_path / "models--a--b"
    (home / "blobs").mkdir(parents=True)
    snapshot = home / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    for i, path in enumerate(sorted(shards.iterdir())):
        os.rename(path, home / "blobs" / str(i))
        (snapshot / path.name).symlink_to(Path("../../blobs") / str(i))
    jorip.load(snapshot)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda t: t["weight_map"].update({"x.weight": "model-00001-of-00003.safetensors"}),
            "has no 'x.weight', which",
        ),
        (lambda t: t["weight_map"].pop(FIRST), f"has {FIRST!r}, which the index does not put there"),
        (lambda t: t.pop("weight_map"), "damaged: it has no weight_map of names to files"),
        (lambda t: t.update(weight_map={"a": 1}), "damaged: it has no weight_map of names to files"),
        (lambda t: t.update(weight_map={}), "damaged: it has no weight_map of names to files"),
        (lambda t: t.update(weight_map=[1]), "damaged: it has no weight_map of names to files"),
    ],
)
def test_an_index_that_is_wrong(change, says, shards):
    reindex(shards, change)
    refused(shards, says)


def test_an_index_that_is_no_json(shards):
    (shards / INDEX).write_bytes(b'{"weight_map": {')
    refused(shards, f"{shards / INDEX}: damaged: not valid JSON")


# configs


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("n_embd", 10**12, "a model of these sizes has at least 8e+24 parameters, 3.2e+16 GB in float32"),
        ("n_layer", 10**9, "a model of these sizes has at least 2.6e+11 parameters"),
        ("n_layer", 4000, "8,000 sub-layers, at least 4.1 MB in float32; the files hold 28 tensors, 5.6 kB"),
        ("vocab_size", 2**24, "asks for 134,218,936 parameters, 536.9 MB; the files hold 5.6 kB, and"),
        ("n_inner", 10**12, "asks for 34,000,000,000,984 parameters, 136.0 TB"),
        ("n_inner", 10**18, "it asks for a tensor of more than 9 EB"),
        ("n_positions", 10**10, "n_positions: 10000000000: decoder.max_len: input should be less than"),
        ("n_embd", 10**400, "n_embd: 1000"),
        ("n_embd", -8, "n_embd: -8: decoder.d_model: input should be greater than 0"),
        ("n_head", 0, "n_head: 0: decoder.n_heads: input should be greater than 0"),
        ("n_head", "2", "n_head: '2' is not a number"),
        ("n_head", True, "n_head: True: decoder.n_heads: input should be a valid integer"),
        ("n_head", 2.5, "n_head: 2.5"),
        ("n_head", [2], "n_head: [2] is not a number"),
        ("n_head", {"a": {"b": [1]}}, "n_head: {'a': {'b': [1]}} is not a number"),
        ("n_head", 3, "d_model must be a multiple of n_heads, found 8 and 3"),
        ("n_inner", [1], "dense.d_ff: input should be a valid integer, found [1]"),
        ("attn_pdrop", 2, "attn_pdrop: 2: full.dropout: input should be less than 1"),
        ("activation_function", "gelu_mew", "activation_function: 'gelu_mew' is not one of 'gelu_new'"),
        ("add_cross_attention", True, "add_cross_attention: True is not supported, False is"),
        ("scale_attn_weights", "no", "scale_attn_weights: 'no' is not true or false"),
        ("n_ebmd", 8, "fields that this family does not know:\n  'n_ebmd': 8; did you mean 'n_embd'?"),
        ("model_type", "gpt3", "model_type 'gpt3' is not known; did you mean 'gpt2'?; known are "),
        ("model_type", ["gpt2"], "model_type ['gpt2'] is not known; did you mean 'gpt2'?"),
        ("model_type", None, "there is no model_type; known are "),
        ("architectures", ["GPT2Model", "GPT2LMHeadModel"], "architectures must name one class, found ['GPT2Model', "),
        ("architectures", "GPT2Model", "architectures must name one class, found 'GPT2Model'"),
        ("architectures", ["GPT2LMHead"], "gpt2 has no head 'GPT2LMHead'; did you mean 'GPT2LMHeadModel'?"),
        ("auto_map", {"AutoModel": "evil.Model"}, "auto_map names code to run; jorip runs none: remove the field"),
        ("quantization_config", {"bits": 4}, "quantization_config: jorip reads whole weights only"),
    ],
)
def test_configs(field, value, says, folder):
    refused(reconfigure(folder, **{field: value}), str(folder / "config.json"), says)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"id2label": {"0": "a", "2": "b"}}, "id2label must name 0 to 1, found {'0': 'a', '2': 'b'}"),
        (
            {"id2label": ["a", "b"]},
            "maps numbers to labels, num_labels counts them; found id2label ['a', 'b']",
        ),
        ({"num_labels": "3"}, "num_labels counts them; found num_labels '3'"),
        ({"num_labels": 3}, "'readout.out.weight' has shape (2, 8), the model has (3, 8) ('score.weight' there)"),
    ],
)
def test_labels(names, says, tmp_path):
    config, tensors = theirs("gpt2")
    config["architectures"] = ["GPT2ForSequenceClassification"]
    folder = put(tmp_path / "m", config, tensors | {"score.weight": torch.ones(2, 8)})
    assert jorip.load(folder).spec.readout.n_classes == 2
    refused(reconfigure(folder, **names), says)


@pytest.mark.parametrize("raw", [b"", b"[1]", b"{", b"null", b"\xff\xfe{}", b'{"n_embd": NaN}', b"[" * 100000])
def test_configs_that_are_none(raw, folder):
    (folder / "config.json").write_bytes(raw)
    refused(folder, f"{folder / 'config.json'}: damaged: ")


def test_a_config_that_is_too_large(folder):
    (folder / "config.json").write_bytes(b" " * (5 << 20))
    refused(folder, "is too large to be a config.json")


def test_weights_larger_than_the_memory(folder, monkeypatch):
    monkeypatch.setattr(loading, "available_memory", lambda: 4000)
    refused(folder, f"{folder}: 5.6 kB of weights, 4.0 kB of memory are free", error=ResourceError)


def test_tables_larger_than_the_memory(folder, monkeypatch):
    class Tables(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model
            self.register_buffer("table", torch.empty(10**7, device="meta"))

    built = loading.Architecture.build
    monkeypatch.setattr(loading.Architecture, "build", lambda self, **kw: Tables(built(self, **kw)))
    monkeypatch.setattr(loading, "available_memory", lambda: 10**6)
    refused(folder, "asks for tables of 40.0 MB beside the weights, 1.0 MB of memory are free: its longest length is")


# vocabularies


@pytest.mark.parametrize(
    ("name", "text", "largest"),
    [
        ("tokenizer.json", json.dumps({"model": {"vocab": {"a": 0, "b": 23}}}), 23),
        ("tokenizer.json", json.dumps({"model": {"vocab": [["a", 0.0]] * 30}, "added_tokens": []}), 29),
        ("tokenizer.json", json.dumps({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 99}]}), 99),
        ("vocab.txt", "\n".join(f"t{i}" for i in range(24)) + "\n", 23),
        ("vocab.json", json.dumps({"a": 0, "b": 40}), 40),
    ],
)
def test_a_vocabulary_larger_than_the_embedding(name, text, largest, folder):
    (folder / name).write_text(text, encoding="utf-8")
    refused(
        folder,
        f"{folder / name}: its vocabulary has ids up to {largest}, which needs {largest + 1} rows; the model's "
        "embedding has 23: they are not of one model",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", json.dumps({"model": {"vocab": {"a": 22}}, "added_tokens": [{"id": 3}]})),
        ("tokenizer.json", "{damaged"),
        ("tokenizer.json", '{"model": 3}'),
        ("tokenizer.json", '{"model": {"vocab": {"a": "b"}}, "added_tokens": 7}'),
        ("vocab.txt", "\n".join(f"t{i}" for i in range(23)) + "\n"),
        ("vocab.json", "[]"),
    ],
)
def test_other_vocabularies_are_the_tokenizer_s_to_refuse(name, text, folder):
    (folder / name).write_text(text, encoding="utf-8")
    jorip.load(folder)


# code


class Canary:
    """A pickle of this makes a file when it is opened."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "model.ckpt"])
def test_pickles_are_not_opened(name, folder, tmp_path):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    refused(folder, f"{folder}: {name} is a pickle, which can run any code when it is opened", "convert it: python -c")
    refused(folder / name, f"{name} is a pickle")
    assert not (tmp_path / "canary").exists()


def test_no_command_is_made_of_a_name_that_could_be_one(folder):
    (folder / "model.safetensors").unlink()
    name = "a'$(touch x)'.bin"
    (folder / name).write_bytes(b"")
    said = refused(folder, f"{name} is a pickle", "save it again as model.safetensors, if you trust who made it")
    assert "python -c" not in said


def test_the_way_to_convert_a_pickle_works(folder, tmp_path):
    before = jorip.load(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    command = refused(folder).partition("python -c ")[2].strip('"')
    here = Path.cwd()
    os.chdir(folder)
    try:
        exec(command, {})
    finally:
        os.chdir(here)
    assert torch.equal(jorip.load(folder).embedding.tokens.weight, before.embedding.tokens.weight)


@pytest.mark.parametrize(("name", "says"), [("tf_model.h5", "TensorFlow's"), ("flax_model.msgpack", "Flax's")])
def test_other_formats(name, says, folder):
    (folder / "model.safetensors").rename(folder / name)
    refused(folder, f"{name} is {says} format, and there is no model.safetensors")


def test_no_weights_at_all(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "holds a config.json but no model.safetensors and no model.safetensors.index.json")
    (folder / "config.json").unlink()
    refused(folder, "holds no model.safetensors")
    refused(folder / "none", "there is no such folder")


def test_code_in_a_folder_never_runs(folder, tmp_path, monkeypatch):
    for name in ("modeling_evil.py", "configuration_evil.py", "__init__.py", "sitecustomize.py", "gpt2.py"):
        (folder / name).write_text(f"open({str(tmp_path / 'canary')!r}, 'w')", encoding="utf-8")
    monkeypatch.chdir(folder)
    jorip.load(folder)
    more = {"auto_map": {"AutoConfig": "configuration_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"}}
    refused(reconfigure(folder, **more), "auto_map names code to run")
    refused(reconfigure(folder, auto_map=None, model_type="../modeling_evil"), "is not known")
    assert not (tmp_path / "canary").exists()
