"""Saving: what transformers opens, whole or not at all, with what came with the checkpoint."""

import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

import jorip
from jorip.core.errors import CheckpointError, ConfigError, NonFiniteError, ResourceError
from jorip.exchange import install
from jorip.exchange.families import family
from tests.exchange.folders import make, put, refused, reweigh, same, theirs


@pytest.fixture
def model(tmp_path):
    return jorip.load(make(tmp_path / "m"))


def config_of(folder):
    return json.loads((folder / "config.json").read_text("utf-8"))


def test_wrong_arguments(model, tmp_path):
    with pytest.raises(ConfigError, match="there is no format 'hff'; did you mean 'hf'"):
        jorip.save(model, tmp_path / "x", format="hff")
    for limit in (0, -1, 1.5, True):
        with pytest.raises(ConfigError, match="max_shard_bytes is a number of bytes above 0, found"):
            jorip.save(model, tmp_path / "x", format="hf", max_shard_bytes=limit)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("limit", [1, 1000, 3000, 10**6])
def test_shards(limit, model, tmp_path):
    folder = jorip.save(model, tmp_path / "x", format="hf", max_shard_bytes=limit)
    assert same(jorip.load(folder), model)
    if limit == 10**6:
        assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors"]
        return
    index = json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))
    names = sorted(set(index["weight_map"].values()))
    assert names == [f"model-{i + 1:05}-of-{len(names):05}.safetensors" for i in range(len(names))]
    assert index["metadata"]["total_size"] == sum(p.nbytes for p in model.parameters())
    for name in names:
        tensors = load_file(folder / name)
        assert sum(t.nbytes for t in tensors.values()) <= limit or len(tensors) == 1


def test_transformers_opens_what_we_write_in_shards(model, tmp_path):
    import transformers

    folder = jorip.save(model, tmp_path / "x", format="hf", max_shard_bytes=2000)
    opened, info = transformers.GPT2LMHeadModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert torch.equal(opened.transformer.wte.weight, model.embedding.tokens.weight)


def test_numbers_that_are_none(model, tmp_path):
    with torch.no_grad():
        model.layers[1].mixer.q.weight[0, 0] = torch.nan
    for format in ("hf", "jorip"):
        with pytest.raises(NonFiniteError, match=r"x: not saved, because .* not finite: layers.1.mixer.q.weight"):
            jorip.save(model, tmp_path / "x", format=format)
    assert not (tmp_path / "x").exists()


# in an existing folder


def test_files_of_the_old_model_go_and_others_stay(model, tmp_path):
    folder = jorip.save(model, tmp_path / "x", format="hf", max_shard_bytes=2000)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / "runs").mkdir()
    jorip.save(model, folder, format="hf")
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors", "notes.txt", "runs"]
    jorip.save(model, folder)
    assert sorted(os.listdir(folder)) == ["model.safetensors", "notes.txt", "origin.json", "runs", "spec.json"]
    assert same(jorip.load(folder), model)
    jorip.save(model, folder, format="hf", max_shard_bytes=3000)
    assert "model.safetensors" not in os.listdir(folder) and "spec.json" not in os.listdir(folder)
    assert same(jorip.load(folder), model)


def test_saving_where_it_was_loaded_from(tmp_path):
    folder = make(tmp_path / "m")
    (folder / "vocab.txt").write_text("a\nb\n", encoding="utf-8")
    model = jorip.load(folder)
    with torch.no_grad():
        model.embedding.tokens.weight.add_(1)
    for format in ("hf", "jorip", "hf"):
        jorip.save(model, folder, format=format)
        assert same(jorip.load(folder), model) and (folder / "vocab.txt").read_text("utf-8") == "a\nb\n"


class Crash(BaseException):
    """Like a power cut: nothing afterwards runs."""


@pytest.mark.parametrize("format", ["hf", "jorip"])
def test_interrupted_at_any_file_it_is_the_old_one_the_new_one_or_says_so(format, model, tmp_path, monkeypatch):
    folder = tmp_path / "x"
    other = jorip.load(make(tmp_path / "o"))
    with torch.no_grad():
        other.embedding.tokens.weight.add_(1)
    plain, outcomes = os.replace, []
    for crash in range(8):
        jorip.save(model, folder, format="hf", max_shard_bytes=4000)
        calls = iter(range(100))

        def dying(a, b, calls=calls, crash=crash):
            if next(calls) == crash:
                raise Crash
            plain(a, b)

        monkeypatch.setattr(install.os, "replace", dying)
        try:
            jorip.save(other, folder, format=format)
            outcomes.append("done")
        except Crash:
            try:
                found = jorip.load(folder)
                outcomes.append("old" if same(found, model) else "new")
                assert same(found, model) or same(found, other)
            except CheckpointError as e:
                assert "a save was interrupted here" in str(e), e
                outcomes.append("says so")
        monkeypatch.setattr(install.os, "replace", plain)
        jorip.save(other, folder, format=format)
        assert same(jorip.load(folder), other)
        assert not [n for n in os.listdir(tmp_path) if ".tmp-" in n]
    assert "says so" in outcomes and outcomes[-1] == "done" and "new" not in outcomes


@pytest.mark.parametrize("format", ["hf", "jorip"])
def test_a_full_disk_leaves_the_old_folder(format, model, tmp_path, monkeypatch):
    folder = jorip.save(model, tmp_path / "x", format=format)
    before = {n: (folder / n).read_bytes() for n in os.listdir(folder)}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jorip.core.tensor_file.save_file", full)
    for target in (folder, tmp_path / "new"):
        with pytest.raises(ResourceError, match=r"/(x|new).*cannot write.*No space left.*free some space") as e:
            jorip.save(model, target, format=format)
        assert e.value.exit_code == 6 and ".tmp-" not in str(e.value)
    monkeypatch.undo()
    assert {n: (folder / n).read_bytes() for n in os.listdir(folder)} == before
    assert sorted(n for n in os.listdir(tmp_path) if n not in ("m", "x")) == []


def test_a_folder_that_cannot_be_made(model, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ResourceError, match="cannot write"):
        jorip.save(model, tmp_path / "file" / "x", format="hf")


# what came with the checkpoint

FIELDS = {
    "architectures": ["GPT2ForSequenceClassification"], "id2label": {"0": "bad", "1": "good"}, "bos_token_id": None,
    "label2id": {"bad": 0, "good": 1}, "eos_token_id": [2, 3], "pad_token_id": 0, "task_specific_params": {"a": [1]},
    "summary_type": "cls_index", "transformers_version": "4.1.0", "torch_dtype": "float32",
}  # fmt: skip
FILES = {"tokenizer.json": b'{"a": 1}', "vocab.txt": b"a\nb", "merges.txt": b"#", "generation_config.json": b"{}"}


@pytest.fixture
def classifier(tmp_path):
    config, tensors = theirs("gpt2")
    folder = put(tmp_path / "c", config | FIELDS, tensors | {"score.weight": torch.randn(2, 8)})
    generation = {"eos_token_id": [2, 3], "num_beams": 4, "length_penalty": 2.0}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2, sort_keys=True) + "\n", "utf-8")
    for name in ("tokenizer.json", "vocab.txt", "merges.txt"):
        (folder / name).write_bytes(FILES[name])
    (folder / "README.md").write_text("theirs", encoding="utf-8")
    return folder


def test_nothing_is_lost_on_the_way_and_back(classifier, tmp_path):
    own = jorip.save(jorip.load(classifier), tmp_path / "own")
    assert sorted(os.listdir(own)) == sorted([*FILES, "model.safetensors", "spec.json", "origin.json"])
    back = jorip.save(jorip.load(own), tmp_path / "back", format="hf")
    assert sorted(os.listdir(back)) == sorted([*FILES, "model.safetensors", "config.json"])
    for name in (*FILES, "model.safetensors"):
        assert (back / name).read_bytes() == (classifier / name).read_bytes(), name
    assert config_of(back) == config_of(classifier)
    direct = jorip.save(jorip.load(classifier), tmp_path / "direct", format="hf")
    assert config_of(direct) == config_of(classifier)


def test_what_the_origin_says(classifier, tmp_path):
    model = jorip.load(classifier)
    for origin in (model.origin, jorip.load(jorip.save(model, tmp_path / "own")).origin):
        assert origin.family == "gpt2" and origin.head == "GPT2ForSequenceClassification"
        assert origin.ids == {"eos": [2, 3], "pad": 0} and origin.labels == ["bad", "good"]
        assert origin.generation["num_beams"] == 4 and origin.source == str(classifier)
        assert "gpt2, GPT2ForSequenceClassification" in origin.report


def test_what_is_changed_is_written(classifier, tmp_path):
    model = jorip.load(classifier)
    model.origin.labels = ["no", "yes"]
    model.origin.ids = {"eos": 5}
    model.origin.generation = {"num_beams": 2}
    for format in ("jorip", "hf"):
        model = jorip.load(jorip.save(model, tmp_path / format, format=format))
        assert model.origin.labels == ["no", "yes"] and model.origin.ids == {"eos": 5}
    config = config_of(tmp_path / "hf")
    assert config["id2label"] == {"0": "no", "1": "yes"} and config["label2id"] == {"no": 0, "yes": 1}
    assert config["eos_token_id"] == 5 and "pad_token_id" not in config
    assert json.loads((tmp_path / "hf" / "generation_config.json").read_text("utf-8")) == {"num_beams": 2}


def test_labels_that_do_not_fit(classifier, tmp_path):
    model = jorip.load(classifier)
    model.origin.labels = ["a", "b", "c"]
    with pytest.raises(CheckpointError, match="names 3 classes, the readout has 2: name them all, or set it to"):
        jorip.save(model, tmp_path / "x", format="hf")
    model.origin.labels = []
    config = config_of(jorip.save(model, tmp_path / "x", format="hf"))
    assert "id2label" not in config and jorip.load(tmp_path / "x").spec == model.spec


def test_a_tokenizer_that_is_gone(classifier, tmp_path):
    model = jorip.load(classifier)
    classifier.rename(tmp_path / "moved")
    for format in ("hf", "jorip"):
        with pytest.raises(CheckpointError, match="tokenizer was here, and the folder is gone: put it back, or set"):
            jorip.save(model, tmp_path / "x", format=format)
    model.origin.folder = tmp_path / "moved"
    assert (jorip.save(model, tmp_path / "x", format="hf") / "vocab.txt").read_bytes() == b"a\nb"
    model.origin.folder = None
    assert not (jorip.save(model, tmp_path / "y", format="hf") / "vocab.txt").exists()


def test_a_tokenizer_that_leads_out(classifier, tmp_path):
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (classifier / "merges.txt").unlink()
    (classifier / "merges.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match=r"merges.txt: is a link that leads out of the folder"):
        jorip.save(jorip.load(classifier), tmp_path / "x", format="hf")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"{", "origin.json: damaged: not valid JSON"),
        (b"[]", "origin.json: damaged: it must have family, head, source, prefixed, config: remove it to load without"),
        (b'{"family": 1}', "origin.json: damaged: it must have"),
    ],
)
def test_a_damaged_origin(raw, says, classifier, tmp_path):
    own = jorip.save(jorip.load(classifier), tmp_path / "own")
    (own / "origin.json").write_bytes(raw)
    refused(own, says)
    (own / "origin.json").unlink()
    assert jorip.load(own).origin is None


@pytest.mark.parametrize(("raw", "says"), [(b"{", "not valid JSON"), (b"[1]", "settings are a mapping, found list")])
def test_damaged_generation_settings(raw, says, classifier):
    (classifier / "generation_config.json").write_bytes(raw)
    refused(classifier, f"{classifier / 'generation_config.json'}: damaged: {says}")


def test_of_two_classes_for_one_readout_it_stays_what_it_was(tmp_path, monkeypatch):
    kind = family("gpt2")
    more = {**kind.heads, "GPT2Twin": kind.heads["GPT2LMHeadModel"]}
    monkeypatch.setattr("jorip.recipes.gpt2.FAMILY", replace(kind, heads=more))
    folder = make(tmp_path / "m", architectures=["GPT2Twin"])
    assert config_of(jorip.save(jorip.load(folder), tmp_path / "x", format="hf"))["architectures"] == ["GPT2Twin"]


# models of our own


def test_a_model_of_our_own_that_a_family_has(tmp_path):
    spec = jorip.recipe("gpt2", vocab_size=23, max_len=16, d_model=8, n_layers=1, n_heads=2)
    model = spec.override({"layer.feed_forward.d_ff": None, "init": jorip.Xavier()}).build(seed=0)
    folder = jorip.save(model, tmp_path / "x", format="hf")
    assert config_of(folder)["architectures"] == ["GPT2LMHeadModel"]
    back = jorip.load(folder)
    assert same(back, model)
    own = jorip.load(jorip.save(back, tmp_path / "y"))
    assert same(own, model)
    bare = spec.override({"readout": None}).build(seed=0)
    keys = load_file(jorip.save(bare, tmp_path / "z", format="hf") / "model.safetensors")
    assert "wte.weight" in keys  # as transformers writes GPT2Model


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layer.norm": jorip.RmsNorm()}, ["closest is gpt2 (GPT2LMHeadModel):", "layer.norm: layer_norm there, rms_"]),
        ({"layer.norm.eps": 1e-3}, ["closest is gpt2", "norm.eps: 0.001 there, 1e-05 here"]),
        ({"layers.1.dropout": 0.3}, ["closest is gpt2", "layers.1.dropout: 0.1 there, 0.3 here"]),
        ({"layer.mixer.bias": False}, ["layer.mixer.bias: True there, False here"]),
        ({"position": jorip.Sinusoidal()}, ["closest is gpt2", "position: learned there, sinusoidal here"]),
    ],
)  # fmt: skip
def test_a_model_that_nobody_has(changes, says, tmp_path):
    model = jorip.recipe("gpt2", vocab_size=23, max_len=16, d_model=8, n_layers=2, n_heads=2).override(changes).build()
    with pytest.raises(CheckpointError) as e:
        jorip.save(model, tmp_path / "x", format="hf")
    text = str(e.value)
    assert text.startswith("no family of Hugging Face checkpoints has this model. The closest is ")
    assert text.endswith('\nformat="jorip" saves every model') and len(text.splitlines()) <= 9
    for word in says:
        assert word in text, text
    assert not (tmp_path / "x").exists()


SMALL = {"vocab_size": 11, "d_model": 8, "n_layers": 1, "n_heads": 2}


@pytest.mark.parametrize(
    "spec",
    [
        jorip.Encoder(**SMALL),
        jorip.EncoderDecoder(encoder=jorip.Encoder(**SMALL), decoder=jorip.Decoder(**SMALL)),
        jorip.Decoder(**SMALL, layer=jorip.PreNorm(mixer=jorip.Lstm())),
    ],
)
def test_every_kind_of_model_gets_an_answer(spec, tmp_path):
    with pytest.raises(CheckpointError, match=r"The closest is \w+ \(\w+\):\n  .*(there|here|must|one of)"):
        jorip.save(spec.build(), tmp_path / "x", format="hf")


def test_a_spec_that_was_changed_after_loading(classifier, tmp_path):
    model = jorip.load(classifier)
    model.spec = model.spec.override({"layer.dropout": 0.25})
    folder = jorip.save(model, tmp_path / "x", format="hf")
    config = config_of(folder)
    assert config["resid_pdrop"] == 0.25 and config["task_specific_params"] == {"a": [1]}
    assert config["summary_type"] == "cls_index" and jorip.load(folder).spec == model.spec


def test_weights_that_are_never_read_are_kept_apart_from_their_file(tmp_path):
    """In memory of their own, and in the type of the others when the model changes it."""
    config, tensors = theirs("big_bird")
    tensors = {n: t for n, t in tensors.items() if not n.startswith("cls.seq_relationship.")}
    folder = put(tmp_path / "a", config | {"architectures": ["BigBirdForMaskedLM"]}, tensors)
    reweigh(folder, lambda found: found["bert.pooler.weight"].fill_(0.5))
    model = jorip.load(folder)
    raw = (folder / "model.safetensors").read_bytes()
    with open(folder / "model.safetensors", "r+b") as f:  # not replaced: written over
        f.write(raw[: 8 + int.from_bytes(raw[:8], "little")].ljust(len(raw), b"\0"))
    jorip.save(model.bfloat16(), tmp_path / "b", format="hf")
    found = load_file(tmp_path / "b" / "model.safetensors")
    assert (found["bert.pooler.weight"] == 0.5).all()
    assert {t.dtype for t in found.values()} == {torch.bfloat16}
