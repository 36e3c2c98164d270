"""`jorip convert`, and `jorip show` of what it converts."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file

import jorip as api
from tests.exchange.folders import make, reconfigure, reweigh, same


@pytest.fixture
def theirs(tmp_path):
    folder = make(tmp_path / "theirs", bos_token_id=1)
    (folder / "vocab.txt").write_text("a\nb\n", encoding="utf-8")
    return folder


def test_there_and_back(jorip, theirs, tmp_path):
    done = jorip("convert", theirs, tmp_path / "own", "--format", "jorip")
    assert done.code == 0 and done.err == ""
    assert f"{theirs}: gpt2, GPT2LMHeadModel" in done.out and "(transposed)" in done.out
    assert f"written: {tmp_path / 'own'}, jorip format, 1,392 parameters, float32" in done.out
    assert "  vocab.txt  4 bytes" in done.out
    done = jorip("convert", tmp_path / "own", tmp_path / "back", "--format", "hf", "--json")
    assert done.json["files"].keys() == {"config.json", "model.safetensors", "vocab.txt"}
    assert done.json["dtype"] == "float32" and done.json["parameters"] == 1392 and done.json["format"] == "hf"
    assert done.json["account"] == {"family": "gpt2", "head": "GPT2LMHeadModel", "source": str(theirs)}
    for name in ("model.safetensors", "vocab.txt"):
        assert (tmp_path / "back" / name).read_bytes() == (theirs / name).read_bytes()
    config = json.loads((tmp_path / "back" / "config.json").read_text("utf-8"))
    assert config.pop("dtype") == "float32" and config == json.loads((theirs / "config.json").read_text("utf-8"))


def test_json_is_the_whole_account(jorip, theirs, tmp_path):
    found = jorip("convert", theirs, tmp_path / "x", "--format", "hf", "--json").json
    account = found["account"]
    assert {"theirs": "wte", "keys": 1, "done": "", "ours": ["embedding.tokens"]} in account["keys"]
    assert {f["name"]: f["became"] for f in account["fields"]}["n_embd"] == "-> d_model"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_types(dtype, jorip, theirs, tmp_path):
    for format in ("hf", "jorip"):
        done = jorip("convert", theirs, tmp_path / format, "--format", format, "--dtype", dtype)
        assert f"1,392 parameters, {dtype}" in done.out
        model = api.load(tmp_path / format)
        assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}
    config = json.loads((tmp_path / "hf" / "config.json").read_text("utf-8"))
    assert config["dtype"] == dtype


def test_numbers_too_large_for_the_type(jorip, theirs, tmp_path):
    reweigh(theirs, lambda t: t["transformer.wte.weight"][2].fill_(1e6))
    done = jorip("convert", theirs, tmp_path / "x", "--format", "hf", "--dtype", "float16")
    assert (
        done.code == 5 and "these weights are too large for float16: embedding.tokens.weight: bfloat16 has" in done.err
    )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("task", ["language_model", "tag"])
def test_a_run_of_ours(task, jorip, runs, tmp_path):
    done = jorip("convert", runs / task, tmp_path / "x", "--format", "hf")
    assert done.code == 4 and "no family of Hugging Face checkpoints has this model. The closest is " in done.err
    assert not (tmp_path / "x").exists()
    done = jorip("convert", runs / task, tmp_path / "y", "--format", "jorip", "--dtype", "bfloat16")
    assert done.code == 0
    assert sorted(os.listdir(tmp_path / "y")) == ["model.safetensors", "spec.json", "task.json", "tokenizer.json"]


def test_a_run_s_own_checkpoint_is_not_written_over(jorip, runs):
    best = api.architectures.folder.find(runs / "tag")
    before = sorted(os.listdir(best))
    done = jorip("convert", runs / "tag", best, "--format", "jorip", "--dtype", "bfloat16")
    assert done.code == 2 and f"{best}: is what {runs / 'tag'} means: give another folder to write" in done.err
    assert sorted(os.listdir(best)) == before


def test_our_own_tokenizer_goes_with_a_model_that_they_have(jorip, runs, tmp_path):
    import transformers

    found = api.load(runs / "language_model")
    model = api.recipe("gpt2", vocab_size=found.spec.vocab_size, max_len=16, d_model=8, n_layers=1, n_heads=2).build()
    folder = api.save(model, tmp_path / "own")
    tokenizer = api.architectures.folder.find(runs / "language_model") / "tokenizer.json"
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    assert jorip("convert", folder, tmp_path / "x", "--format", "hf").code == 0
    config = json.loads((tmp_path / "x" / "config.json").read_text("utf-8"))
    assert (config["bos_token_id"], config["eos_token_id"]) == (1, 2)
    opened = transformers.AutoTokenizer.from_pretrained(tmp_path / "x")
    from jorip.data.tokenizers import Tokenizer

    text = "to be or not"
    assert opened.encode(text, add_special_tokens=False) == Tokenizer.load(folder).encode(text)
    assert (opened.bos_token, opened.eos_token_id) == ("<bos>", 2)
    assert same(api.load(tmp_path / "x"), model)


def test_a_run_of_ours_that_answers_questions(jorip, tmp_path):
    """Its `labels` say that questions may have no answer: they are not the names of classes."""
    import transformers

    rows = [{"context": "a b c", "question": "d", "answers": ["b"]}, {"context": "a", "question": "d", "answers": []}]
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    (tmp_path / "qa.yaml").write_text(
        "task: question_answering\ndata: {train: qa.jsonl, val: qa.jsonl}\ntokenizer: {kind: character}\n"
        "model: {recipe: bert-base, override: {d_model: 8, n_layers: 1, n_heads: 2, layer.feed_forward.d_ff: 9}}\n"
        "training: {steps: 1, evaluate_every: 1, threads: 1, schedule: {kind: constant}}\n",
        encoding="utf-8",
    )
    assert jorip("train", tmp_path / "qa.yaml", "--out", tmp_path / "run").code == 0
    assert json.loads((api.architectures.folder.find(tmp_path / "run") / "task.json").read_text("utf-8"))["labels"]
    assert jorip("convert", tmp_path / "run", tmp_path / "x", "--format", "hf").code == 0
    theirs = transformers.BertForQuestionAnswering.from_pretrained(tmp_path / "x").eval()
    ids = torch.randint(6, theirs.config.vocab_size, (2, 7))
    with torch.no_grad():
        out, mine = theirs(ids), api.load(tmp_path / "run").eval()(ids).logits
    torch.testing.assert_close(torch.stack([out.start_logits, out.end_logits], -1), mine)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("none", "x", "--format", "hf"), 4, "none: there is no such folder"),
        (("theirs", "theirs", "--format", "jorip"), 2, "source and target are one folder: give another one to write"),
        (("theirs", "x"), 2, "--format"),
        (("theirs", "x", "--format", "onnx"), 2, "onnx"),
        (("theirs", "x", "--format", "hf", "--dtype", "int8"), 2, "int8"),
        (("theirs",), 2, "DST"),
        (("hf:a/b/c", "x", "--format", "hf"), 4, "a model of the hub is written hf:org/name or hf:org/name@revision"),
        (("theirs/model.safetensors", "x", "--format", "hf"), 4, "is a file: give the folder"),
        (("theirs", "theirs/vocab.txt/x", "--format", "hf"), 6, "cannot write"),
    ],
)
def test_wrong_arguments(arguments, code, says, jorip, theirs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = jorip("convert", *arguments)
    assert done.code == code and says in done.err and done.out == "" and "Traceback" not in done.err


def test_wrong_folders(jorip, theirs, tmp_path):
    for command in (("convert", theirs, tmp_path / "x", "--format", "jorip"), ("show", theirs)):
        done = jorip(*command)
        assert done.code == 0
    reconfigure(theirs, n_embd=10**12)
    for command in (("convert", theirs, tmp_path / "y", "--format", "jorip"), ("show", theirs)):
        done = jorip(*command)
        assert done.code == 4 and "a model of these sizes has at least 8e+24 parameters" in done.err and done.out == ""
    assert not (tmp_path / "y").exists()


def test_a_model_without_a_tokenizer_is_said(jorip, tmp_path):
    done = jorip("convert", make(tmp_path / "a"), tmp_path / "b", "--format", "hf")
    assert done.code == 0 and "note: SRC has no tokenizer" in done.err


def test_show_a_checkpoint(jorip, theirs, tmp_path):
    shown = jorip("show", theirs)
    assert "mixer: multi_head" in shown.out and "wte" in shown.out and "1,392 parameters" in shown.out
    found = jorip("show", theirs, "--json").json
    assert found["checkpoint"]["family"] == "gpt2" and found["total_parameters"] == 1392
    jorip("convert", theirs, tmp_path / "own", "--format", "jorip")
    assert f"converted from {theirs}: gpt2, GPT2LMHeadModel" in jorip("show", tmp_path / "own").out
    assert "checkpoint" not in jorip("show", "encoder-small", "--json").json


def test_the_tensors_of_a_shared_matrix_are_written_once(jorip, theirs, tmp_path):
    jorip("convert", theirs, tmp_path / "x", "--format", "hf")
    assert "lm_head.weight" not in load_file(tmp_path / "x" / "model.safetensors")
