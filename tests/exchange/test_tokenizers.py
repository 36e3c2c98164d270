"""Ids, spans and texts equal transformers', for every kind of folder; and again after saving on either side."""

import pickle

import pytest
import transformers as hf

from jorip.data.tokenizer_loaded import NAMES
from jorip.data.tokenizers import Tokenizer
from jorip.exchange.tokenizers import load_tokenizer
from tests.exchange.tokenizer_folders import FOLDERS, KOREAN, TEXTS, llama, make, model, write

NOT_THERE = {"gpt2-json-bare": 1}  # tokens that only the class names get an id in transformers


def compare(ours, theirs, missing=0):
    assert ours.vocab_size == len(theirs) - missing
    for name in NAMES:
        if (found := getattr(theirs, f"{name}_token_id")) is not None and not missing:
            assert getattr(ours, name) == found, name
    plain = theirs(TEXTS, add_special_tokens=False, return_offsets_mapping=True)
    assert ours.encode_batch(TEXTS) == plain["input_ids"]
    inside = theirs(TEXTS, return_token_type_ids=True)
    for i, text in enumerate(TEXTS):
        ids, spans = ours.encode_offsets(text)
        assert ids == plain["input_ids"][i], text
        assert spans == [tuple(s) for s in plain["offset_mapping"][i]], text
        assert ours.with_specials(ids) == (inside["input_ids"][i], inside["token_type_ids"][i])
    pairs = list(zip(TEXTS, reversed(TEXTS)))
    inside = theirs(pairs, return_token_type_ids=True)
    for i, (a, b) in enumerate(pairs):
        filled = ours.with_specials(ours.encode(a), ours.encode(b))
        assert filled == (inside["input_ids"][i], inside["token_type_ids"][i]), (a, b)
        for skip in (True, False):
            found = ours.decode(filled[0], skip_special=skip)
            assert found == theirs.decode(filled[0], skip_special_tokens=skip)


def compare_specials(ours, theirs):
    """Spelled out: plain text by default, the special token when that is wanted."""
    text = " and  ".join([*theirs.all_special_tokens[:12], "end"])
    split = theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    found = theirs(text, add_special_tokens=False, return_offsets_mapping=True)
    assert ours.encode(text) == split
    assert ours.encode(text, allow_specials=True) == found["input_ids"]
    assert ours.encode_offsets(text, allow_specials=True)[1] == [tuple(s) for s in found["offset_mapping"]]
    assert ours.encode(text) == split  # and back


@pytest.mark.parametrize("name", FOLDERS)
def test_equal_to_transformers(name, tmp_path):
    folder = make(name, tmp_path)
    theirs = hf.AutoTokenizer.from_pretrained(folder)
    ours = load_tokenizer(folder)
    missing = NOT_THERE.get(name, 0)
    compare(ours, theirs, missing)
    if missing:
        return
    compare_specials(ours, theirs)
    # theirs, saved
    write(tmp_path / "theirs", **({"config__json": FOLDERS[name]()["config__json"]} if name != "electra-class" else {}))
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_tokenizer(tmp_path / "theirs")
    compare(again, hf.AutoTokenizer.from_pretrained(tmp_path / "theirs"))
    # ours, saved
    (tmp_path / "ours").mkdir()
    ours.save(tmp_path / "ours")
    compare(ours, hf.AutoTokenizer.from_pretrained(tmp_path / "ours"))
    copy = pickle.loads(pickle.dumps(ours))
    for other in (load_tokenizer(tmp_path / "ours"), Tokenizer.load(tmp_path / "ours"), copy):
        assert other.encode_batch(TEXTS) == ours.encode_batch(TEXTS)
        assert (other.single, other.pair, other.specials) == (ours.single, ours.pair, ours.specials)
        assert [getattr(other, n) for n in NAMES] == [getattr(ours, n) for n in NAMES]
        assert (other.kind, other.fingerprint) == (ours.kind, ours.fingerprint)


@pytest.mark.parametrize("name", ["bert", "gpt2", "roberta-prefix", "gpt", "t5", "albert", "big_bird", "llama"])
def test_words(name, tmp_path):
    """As transformers reads a list of words; byte pairs as it does with add_prefix_space."""
    folder = make(name, tmp_path)
    prefix = {"add_prefix_space": True} if name == "gpt2" else {}
    theirs = hf.AutoTokenizer.from_pretrained(folder, **prefix)
    ours = load_tokenizer(folder)
    words = ["The", "film,", "don't", "재밌어요!", "Größe", "(2024)", "👍🏽"]
    found = theirs(words, is_split_into_words=True, add_special_tokens=False)
    assert ours.encode_words(words) == (found["input_ids"], found.word_ids())
    ids, index = ours.encode_words(["a", "\u200b", "b"])
    assert sorted(set(index)) == [0, 1, 2] and len(ids) == len(index)


def test_mistral_from_a_model_file_alone(tmp_path):
    """AutoTokenizer 5 forgets the space before the first word; its class for the file does not."""
    folder = write(tmp_path / "m", tokenizer__model=llama(), **model("mistral"))
    compare(load_tokenizer(folder), hf.LlamaTokenizer.from_pretrained(folder))


@pytest.mark.parametrize("name, text", [("llama-legacy", KOREAN + " 뷁 Größe"), ("t5", "The film was good")])
def test_sentencepiece_itself_agrees(name, text, tmp_path):
    import sentencepiece

    folder = make(name, tmp_path)
    file = next(folder.glob("*.model"))
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(file))
    ours = load_tokenizer(folder)
    assert ours.encode(text) == theirs.encode(text)
    assert ours.decode(ours.encode(text)) == text
