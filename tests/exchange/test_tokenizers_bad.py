"""Files that cannot be used: each says where, what was found and what to do. And what a folder need not say."""

import builtins
import json
import re
import sys

import pytest
from tokenizers import Tokenizer as Inner
from tokenizers import models

import jorip.data.tokenizers
from jorip.core.errors import CheckpointError, ConfigError
from jorip.data.tokenizer_template import A, B, Template
from jorip.data.tokenizers import Tokenizer, TokenizerSpec, train_tokenizer
from jorip.exchange.tokenizers import load_tokenizer
from tests.exchange.tokenizer_folders import (
    BART,
    END,
    FOLDERS,
    albert,
    byte_pairs,
    config,
    first_gpt,
    llama,
    make,
    model,
    t5,
    token,
    vocab_and_merges,
    word_pieces,
    write,
)


def bad(name, **files):
    return FOLDERS[name]() | files


BAD = {
    "nothing": ({}, "holds no tokenizer: looked for tokenizer.json, vocab.txt, vocab.json with merges.txt, spiece.m"),
    "other files": (model("bert") | {"vocab__json": {}}, "looked for tokenizer.json, vocab.txt; there is config"),
    "not json": ({"tokenizer__json": "{"}, "tokenizer.json: is not a tokenizer.json"),
    "no tokenizer": ({"tokenizer__json": {"model": 3}}, "tokenizer.json: is not a tokenizer.json"),
    "not text": ({"tokenizer__json": b"\xff\xfe{}"}, "tokenizer.json: the tokenizer cannot be read .*decode byte 0xff"),
    "damaged config": (bad("bert-json", tokenizer_config__json="{,}"), "_config.json: damaged: not valid JSON"),
    "list config": (bad("bert-json", tokenizer_config__json=[1]), "damaged: a mapping is expected, found list"),
    "twice": (bad("bert", vocab__txt="[UNK]\na\nb\na\n"), "1 tokens are there twice.*: 'a' in lines 2 and 4"),
    "empty vocab": (bad("bert", vocab__txt=""), "vocab.txt: has no tokens"),
    "not UTF-8": (bad("bert", vocab__txt="é".encode("latin-1")), "vocab.txt: the tokenizer cannot be read"),
    "no unknown": (bad("bert", vocab__txt="[CLS]\n[SEP]\na\n"), r"vocab.txt: cannot be used: .*\[UNK\]"),
    "no merges": (model("gpt2") | {"vocab__json": {"a": 0}}, "has vocab.json but no merges.txt: byte pairs need both"),
    "no vocab": (model("gpt2") | {"merges__txt": ""}, "has merges.txt but no vocab.json"),
    "bad merge": (bad("gpt2", merges__txt="#version: 0.2\na b c\n"), "line 2: a merge is two tokens .* found 'a b c'"),
    "other merge": (bad("gpt2", merges__txt="#version: 0.2\nq zz\n"), "line 2: 'zz' is not in vocab.json"),
    "vocab list": (bad("gpt2", vocab__json=["a"]), "vocab.json: damaged: a mapping of tokens to ids"),
    "vocab ids": (bad("gpt2", vocab__json={"a": 0, "b": 0}), "2 tokens have 1 different ids"),
    "vocab json": (bad("gpt2", vocab__json='{"a": 0, "a": 1}'), "not valid JSON .'a' is there twice"),
    "not a model": (bad("t5", spiece__model=b"\x08\x01nothing"), "spiece.model: is not a SentencePiece model"),
    "no pieces": (bad("t5", spiece__model=b""), "0 pieces, model type 1: only unigram and BPE models are read"),
    "other model": (model("t5") | {"spiece__model": llama()}, "T5Tokenizer needs a Unigram vocabulary, found BPE"),
    "whose": ({"spiece__model": t5()}, "neither tokenizer_config.json nor config.json says whose it is: add"),
    "other class": (
        config(tokenizer_class="CamembertTokenizer") | {"sentencepiece__bpe__model": t5()},
        "no tokenizer.json, without which CamembertTokenizer cannot be read.*save_pretrained",
    ),
    "too many": (bad("bert", config__json={"model_type": "bert", "vocab_size": 9}), "needs 260 rows.*embedding has 9"),
    "sentinels": (bad("t5", tokenizer_config__json={"extra_ids": 10**12}), "extra_ids must be between 0 and 10000"),
    "added": (bad("bert", tokenizer_config__json={"added_tokens_decoder": {"x": 1}}), "added or special tokens are"),
    "special": (bad("bert", tokenizer_config__json={"additional_special_tokens": 3}), "special tokens are damaged"),
    "added twice": (bad("bert", added_tokens__json={"x": {}}), "special tokens are damaged: ids and tokens"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_folders(name, tmp_path):
    files, message = BAD[name]
    folder = write(tmp_path / "given", **{k.replace("bpe__", "bpe."): v for k, v in files.items()})
    with pytest.raises(CheckpointError, match=f"(?s){folder}.*{message}"):
        load_tokenizer(folder)


def test_no_folder(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such folder to read a tokenizer from"):
        load_tokenizer(tmp_path / "none")


def test_the_embedding(tmp_path):
    """Rows to spare are fine; by the caller's count, by config.json's."""
    folder = make("bert", tmp_path)
    assert load_tokenizer(folder, vocab_size=300).vocab_size == load_tokenizer(folder, vocab_size=260).vocab_size == 260
    with pytest.raises(CheckpointError, match="ids up to 259, which needs 260 rows; the model's embedding has 259"):
        load_tokenizer(folder, vocab_size=259)


def test_enormous_files(tmp_path, monkeypatch):
    monkeypatch.setattr(jorip.data.tokenizers, "LARGEST", 1 << 20)
    for name, file in (("gpt2-json", "tokenizer.json"), ("bert", "vocab.txt")):
        with (make(name, tmp_path) / file).open("r+b") as f:
            f.truncate(3 << 20)
        with pytest.raises(CheckpointError, match=f"{file}: 3 MiB is too large for a tokenizer .1 MiB"):
            load_tokenizer(tmp_path / name)
    (tmp_path / "gpt2" / "x").parent.mkdir()
    with (make("gpt2", tmp_path) / "chat_template.jinja").open("wb") as f:
        f.truncate(17 << 20)
    with pytest.raises(CheckpointError, match=r"chat_template.jinja: 17 MiB is too large"):
        load_tokenizer(tmp_path / "gpt2")
    with (make("t5", tmp_path) / "spiece.model").open("r+b") as f:
        f.truncate(257 << 20)
    with pytest.raises(CheckpointError, match=r"spiece.model: 257 MiB is too large"):
        load_tokenizer(tmp_path / "t5")


@pytest.mark.parametrize("missing", ["sentencepiece", "google.protobuf"])
def test_a_missing_package(missing, tmp_path, monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "sentencepiece":
            raise ImportError(f"No module named {missing!r}")
        return plain(name, *args, **kwargs)

    for name in [n for n in sys.modules if n.startswith("sentencepiece")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=rf"(?s)spiece.model: .*packages sentencep.*{missing}.*pip install 'jorip"):
        load_tokenizer(make("t5", tmp_path))


@pytest.mark.parametrize(
    "files, name, first",
    [
        ({"vocab__txt": "[UNK]\n[CLS]\n[SEP]\na\n"}, "BertTokenizer", 1),
        (vocab_and_merges(byte_pairs(END)), "GPT2Tokenizer", None),
        (vocab_and_merges(byte_pairs(*BART)), "RobertaTokenizer", 0),
        (vocab_and_merges(first_gpt()), "OpenAIGPTTokenizer", None),
        ({"tokenizer__model": llama()}, "LlamaTokenizer", None),
        ({"tokenizer__json": word_pieces(True)}, "PreTrainedTokenizerFast", None),
    ],
)
def test_folders_that_do_not_say_whose_they_are(files, name, first, tmp_path):
    found = load_tokenizer(write(tmp_path / "f", **files))
    assert found.config["tokenizer_class"] == name
    assert (found.with_specials([3])[0][0] if found.single.extra else None) == first


def test_a_vocabulary_that_the_class_cannot_use_is_taken_as_it_stands(tmp_path):
    found = load_tokenizer(write(tmp_path / "f", tokenizer__json=byte_pairs(END), **model("bert")))
    assert found.notes == [
        "tokenizer.json holds a BPE vocabulary, which BertTokenizer cannot use: it is taken as it stands"
    ]
    assert found.encode("good") == load_tokenizer(make("gpt2", tmp_path)).encode("good")


def test_what_a_class_does_otherwise_than_the_file_is_noted(tmp_path):
    (note,) = load_tokenizer(make("bert-json-cased", tmp_path)).notes
    assert note.startswith('tokenizer.json: its normalizer {"type":"BertNormalizer"') and '"lowercase":true' in note
    assert load_tokenizer(make("bert-json", tmp_path)).notes == []


def test_names_from_the_models_config(tmp_path):
    folder = write(tmp_path / "f", tokenizer__json=byte_pairs(END), **model("llama", eos_token_id=0, bos_token_id=[1]))
    found = load_tokenizer(folder)
    assert (found.eos, found.bos, found.pad, found.mask) == (0, None, None, None)


def test_ours_and_a_folder_that_only_transformers_wrote(tmp_path):
    ours = train_tokenizer(TokenizerSpec(kind="character"), ["abc"])
    ours.save(tmp_path)
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        found = load_tokenizer(path)
        assert type(found) is Tokenizer and found.fingerprint == ours.fingerprint
    with pytest.raises(
        CheckpointError, match=r"are not the special tokens of jorip's tokenizers.*jorip.load_tokenizer"
    ):
        Tokenizer.load(make("bert-json", tmp_path))


def test_a_text_twice_in_the_template(tmp_path):
    state = json.loads(byte_pairs(END))
    twice = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": END, "type_id": 0}}]
    state["post_processor"] = {
        "type": "TemplateProcessing",
        "single": twice * 2,
        "pair": [*twice, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {END: {"id": END, "ids": [0], "tokens": [END]}},
    }
    with pytest.raises(CheckpointError, match=r"post-processor cannot be used: .* does not hold each text once"):
        load_tokenizer(write(tmp_path / "f", tokenizer__json=state))


def test_kinds_and_templates(tmp_path):
    found = {n: load_tokenizer(make(n, tmp_path)) for n in ("bert", "roberta", "t5", "llama", "gpt2", "gpt")}
    assert [t.kind for t in found.values()] == ["wordpiece", "bpe", "unigram", "pieces", "bpe", "pieces"]
    assert found["bert"].pair == Template(((2, 0), (A, 0), (3, 0), (B, 1), (3, 1)))
    assert found["roberta"].with_specials([7], [8, 9]) == ([0, 7, 2, 2, 8, 9, 2], [0] * 7)
    assert found["roberta"].pair.extra == 4 and found["roberta"].pair.starts(1) == (1, 4)
    assert found["t5"].source.fill([7]) == ([7, 1], [0, 0]) and found["t5"].single.starts(1) == (0, 1)
    assert found["llama"].with_specials([7])[0] == [1, 7] and found["gpt2"].with_specials([7])[0] == [7]
    assert found["t5"].token_to_id("<extra_id_0>") == found["t5"].specials["<extra_id_0>"] == 195
    assert not found["bert"].own and Tokenizer.own
    wordlevel = Inner(models.WordLevel({"a": 0, "?": 5}, unk_token="?"))
    words = load_tokenizer(write(tmp_path / "w", tokenizer__json=wordlevel.to_str()))
    assert (words.kind, words.vocab_size, words.encode_words(["a", "b"])) == ("words", 6, ([0, 5], [0, 1]))


def test_texts_of_every_sort(tmp_path):
    found = load_tokenizer(make("gpt2-json", tmp_path))
    stream = found.encode_stream(iter(["good", "film"]), end=0)
    assert stream.tolist() == [*found.encode("good"), 0, *found.encode("film"), 0]
    assert found.encode_stream([]).tolist() == []
    assert found.encode("half \ud83d a pair") == found.encode("half \ufffd a pair")
    assert found.normalize("Größe ") == "Größe "
    assert found.pieces([*found.encode("film"), 0])[-1] == END
    assert "\ufffd" in found.pieces(found.encode("뷁"))[0]
    assert len(found) == found.vocab_size == 400


def test_what_came_with_it_is_written_back(tmp_path):
    folder = make("qwen2", tmp_path)
    (folder / "chat_template.jinja").write_text("{{ x }}\n", encoding="utf-8")
    (folder / "model.bin").write_bytes(b"")
    found = load_tokenizer(folder)
    (tmp_path / "out").mkdir()
    assert found.save(tmp_path / "out") == tmp_path / "out" / "tokenizer.json"
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert written == {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    config_ = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config_["added_tokens_decoder"]["400"] == token("<|im_start|>")
    assert config_["tokenizer_class"] == "Qwen2Tokenizer" and config_["pad_token"] == END


@pytest.mark.parametrize(
    ("text", "says"), [("{,}", "damaged: not valid JSON"), ("[1]", "a mapping is expected, found list")]
)
def test_a_damaged_config_is_named_whoever_reads_it(text, says, tmp_path):
    (tmp_path / "out").mkdir()
    path = load_tokenizer(make("bert-json", tmp_path)).save(tmp_path / "out").with_name("tokenizer_config.json")
    path.write_text(text, encoding="utf-8")
    for read in (Tokenizer.load, load_tokenizer):
        with pytest.raises(CheckpointError, match=f"{re.escape(str(path))}: .*{says}"):
            read(tmp_path / "out")


def test_symbols_that_a_sentencepiece_model_defines(tmp_path):
    """`film` is a token of the user's, found inside words, and no special one."""
    found = load_tokenizer(write(tmp_path / "f", spiece__model=albert(), **model("albert")))
    assert found.token_to_id("film") in found.encode("a filmx") and "film" not in found.specials
