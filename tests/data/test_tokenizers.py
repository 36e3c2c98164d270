"""Round trips, determinism over processes, and what is unknown."""

import os
import pickle
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jorip.core.errors import CheckpointError, ConfigError, DataError
from jorip.data.tokenizer_template import PLAIN
from jorip.data.tokenizers import SPECIALS, Tokenizer, TokenizerSpec, train_tokenizer

KINDS = ("character", "byte", "wordpiece", "bpe", "unigram", "words")
EXACT = ("character", "byte", "bpe", "unigram")
TEXTS = [
    "이 영화 정말 재밌어요! 또 보고 싶다.",
    "영화가 별로였다... 시간이 아깝다",
    "The film was good, the actors were better.",
    "don't  stop\n\tnow",
    "스토리가 좋고 배우들의 연기도 좋다",
    "Das ist ein schöner Film.",
] * 3


@pytest.fixture(scope="module")
def made():
    return {kind: train_tokenizer(spec(kind), TEXTS) for kind in KINDS}


def spec(kind, **more):
    size = {"bpe": 400, "unigram": 480, "wordpiece": 300}.get(kind)
    return TokenizerSpec(kind=kind, **{"vocab_size": size, "min_frequency": 1, **more})


@pytest.mark.parametrize("kind", KINDS)
def test_the_basics(made, kind, tmp_path):
    tokenizer = made[kind]
    assert tokenizer.kind == kind
    assert [tokenizer.inner.token_to_id(s) for s in SPECIALS] == list(range(6))
    assert (tokenizer.unk, tokenizer.bos, tokenizer.eos, tokenizer.cls, tokenizer.sep, tokenizer.mask) == tuple(
        range(6)
    )
    ids = tokenizer.encode(TEXTS[0])
    assert ids == tokenizer.encode_batch(["x", TEXTS[0]])[1] == tokenizer.encode_stream([TEXTS[0]]).tolist()
    assert max(ids) < tokenizer.vocab_size == len(tokenizer)
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    again = pickle.loads(pickle.dumps(tokenizer))
    for other in (loaded, again, Tokenizer.load(tmp_path)):
        assert (other.kind, other.fingerprint) == (kind, tokenizer.fingerprint)
        assert other.encode(TEXTS[3] + "<eos> 똠") == tokenizer.encode(TEXTS[3] + "<eos> 똠")


@pytest.mark.parametrize("kind", EXACT)
def test_round_trip(made, kind):
    tokenizer = made[kind]
    for text in TEXTS:
        apart = unicodedata.normalize("NFD", text)
        assert tokenizer.decode(tokenizer.encode(apart)) == text == tokenizer.normalize(apart)
        assert tokenizer.unk not in tokenizer.encode(text)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=40) | st.text(st.sampled_from("가힣ᄒ▁ \n\t<0x41>eos\u0301😀"), max_size=20))
def test_bytes_bpe_and_unigram_know_every_text(made, text):
    for kind in ("byte", "bpe", "unigram"):
        ids = made[kind].encode(text)
        assert made[kind].decode(ids) == unicodedata.normalize("NFC", text)
        assert all(i >= len(SPECIALS) for i in ids)
    ids = made["character"].encode(text)
    assert len(ids) == len(unicodedata.normalize("NFC", text))
    assert ids == made["character"].inner.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_can_spell_a_special_token(made, kind):
    ids = made[kind].encode("a <eos> <bos><mask>") + made[kind].encode_words(["<eos>", "<mask>"])[0]
    assert not set(ids) & {1, 2, 3, 4, 5}


def test_unknown_characters_are_counted_and_shown(made):
    tokenizer = made["character"]
    ids = tokenizer.encode("영뷁화\x00")
    assert [i == 0 for i in ids] == [False, True, False, True]
    assert tokenizer.decode([1, *ids, 2]) == "영\ufffd화\ufffd"
    assert tokenizer.decode([1, *ids[:1], 2], skip_special=False) == "<bos>영<eos>"
    assert made["words"].decode(made["words"].encode("film 뷁 good")) == "film \ufffd good"


def test_words_for_tagging(made):
    for kind in KINDS:
        ids, index = made[kind].encode_words(["don't", "뷁뷁", "\u200b", "film"])
        assert len(ids) == len(index)
        assert sorted(set(index)) == [0, 1, 2, 3] and index == sorted(index)
    assert len(made["words"].encode_words(["a", "film"])[0]) == 2
    assert made["bpe"].encode_words(["film", "was"])[0] == made["bpe"].encode(" film was")
    listed = train_tokenizer(TokenizerSpec(kind="words", min_frequency=1), [["don't", "<eos>", "go"]])
    assert listed.vocab_size == 8 and listed.unk not in listed.encode_words(["don't", "go"])[0]


def test_pieces_are_readable(made):
    assert made["unigram"].pieces(made["unigram"].encode("film"))[0].strip() != ""
    assert made["character"].pieces([*made["character"].encode("영화"), 2]) == ["영", "화", "<eos>"]


def test_lowercase_and_nfkc():
    tokenizer = train_tokenizer(spec("character", lowercase=True, normalize="nfkc"), ["Ａbc İ"])
    assert tokenizer.decode(tokenizer.encode("ABC")) == "abc" == tokenizer.normalize("ＡBC")
    plain = train_tokenizer(spec("character", normalize="none"), [unicodedata.normalize("NFD", "가")])
    assert len(plain.encode(unicodedata.normalize("NFD", "가"))) == 2 and plain.encode("가") == [0]


def test_stream_ends_each_text(made):
    stream = made["byte"].encode_stream(["ab", "c"], end=2)
    assert stream.tolist() == [6 + 97, 6 + 98, 2, 6 + 99, 2]
    assert made["byte"].encode_stream([]).tolist() == []


def test_min_frequency_and_size():
    few = train_tokenizer(TokenizerSpec(kind="character", vocab_size=8), ["aaabbc"])
    assert few.encode("abc") == [6, 7, 0]
    rare = train_tokenizer(TokenizerSpec(kind="character", min_frequency=2), ["aaabbc"])
    assert rare.encode("abc") == [6, 7, 0]


@pytest.mark.parametrize(
    "value, message",
    [
        ({"kind": "bpe", "vocab_size": 100}, r"bpe needs vocab_size of at least 262 .*found 100"),
        ({"kind": "unigram", "vocab_size": 300}, "unigram needs vocab_size of at least 400"),
        ({"kind": "byte", "vocab_size": 300}, "leave vocab_size out"),
    ],
)
def test_impossible_sizes(value, message):
    with pytest.raises(ConfigError, match=message):
        train_tokenizer(TokenizerSpec(**value), TEXTS)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "byte"])  # bytes need no training
def test_no_text_at_all(kind):
    with pytest.raises(DataError, match="no text to train a tokenizer on"):
        train_tokenizer(TokenizerSpec(kind=kind), ["", ""])


def test_files_that_are_no_tokenizers(tmp_path):
    with pytest.raises(CheckpointError, match="the tokenizer cannot be read"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"is not a tokenizer.json"):
        Tokenizer.load(tmp_path)


CHILD = """
import random, sys
from jorip.data.tokenizers import *
texts = [" ".join("".join(random.Random(i * 7 + j).choices("가나다라마바abcde", k=1 + j % 4)) for j in range(9))
         for i in range(300)]
sizes = {"bpe": 500, "unigram": 500, "wordpiece": 200}
for kind in ("character", "wordpiece", "bpe", "unigram", "words"):
    print(kind, train_tokenizer(TokenizerSpec(kind=kind, vocab_size=sizes.get(kind)), texts).fingerprint)
"""


def test_training_is_the_same_in_every_process():
    found = set()
    for threads in ("1", "2"):
        env = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        run = subprocess.run([sys.executable, "-c", CHILD], env=env, capture_output=True, text=True, encoding="utf-8")
        assert run.returncode == 0, run.stderr
        found.add(run.stdout)
    assert len(found) == 1


def test_templates_of_ours(made):
    tokenizer = made["bpe"]
    assert tokenizer.with_specials([9, 8]) == ([3, 9, 8, 4], [0, 0, 0, 0])
    assert tokenizer.with_specials([9], [8, 7]) == ([3, 9, 4, 8, 7, 4], [0, 0, 0, 1, 1, 1])
    assert tokenizer.with_specials([9], []) == ([3, 9, 4, 4], [0, 0, 0, 1])
    assert tokenizer.source.fill([9]) == ([9, 2], [0, 0]) and PLAIN.fill([9]) == ([9], [0])
    assert (tokenizer.single.extra, tokenizer.pair.extra) == (2, 3)
    assert tokenizer.single.starts(5) == (1, 6) and tokenizer.pair.starts(5) == (1, 7)
    assert tokenizer.own and tokenizer.pad is None


@pytest.mark.parametrize("kind", KINDS)
def test_specials_that_a_text_may_spell(made, kind):
    """Only when asked: for texts with a gap to fill in."""
    tokenizer = made[kind]
    text = "film <mask> good<eos>"
    ids = tokenizer.encode(text, allow_specials=True)
    assert (ids.count(tokenizer.mask), ids.count(tokenizer.eos)) == (1, 1)
    assert ids == tokenizer.encode_batch(["", text], allow_specials=True)[1]
    again, spans = tokenizer.encode_offsets(text, allow_specials=True)
    assert again == ids
    assert text[slice(*spans[ids.index(tokenizer.mask)])] == "<mask>"
    assert text[slice(*spans[-1])] == "<eos>"
    assert tokenizer.mask not in tokenizer.encode(text)


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    | st.sampled_from(TEXTS + [unicodedata.normalize("NFD", t) for t in TEXTS])
)
def test_spans(made, text):
    """The same ids as without spans; every span lies in the text, and together they hold it."""
    for kind in KINDS:
        ids, spans = made[kind].encode_offsets(text)
        assert ids == made[kind].encode(text) and len(ids) == len(spans)
        assert all(0 <= a <= b <= len(text) for a, b in spans)
        assert sorted(a for a, _ in spans) == [a for a, _ in spans]
        if kind in EXACT:
            assert set(range(len(text))) == {i for a, b in spans for i in range(a, b)}


def test_spans_of_decomposed_letters(made):
    text = unicodedata.normalize("NFD", "영화 좋다")
    ids, spans = made["character"].encode_offsets(text)
    assert [unicodedata.normalize("NFC", text[a:b]) for a, b in spans] == list("영화 좋다")
    assert ids == made["character"].encode(text)
