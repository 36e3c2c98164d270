"""The real data sets, where they are: counts as their READMEs say."""

from pathlib import Path

import pytest

from jorip.data.check import labels
from jorip.data.quarantine import Quarantine
from jorip.data.readers import read_all
from jorip.data.source import Source
from jorip.data.tokenizers import TokenizerSpec, train_tokenizer

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [pytest.mark.data, pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is missing")]


def rows(source, roles, **more):
    quarantine = Quarantine()
    found = read_all(Source.parse(source), roles, base=DATA, quarantine=quarantine, **more)
    assert quarantine.total == 0
    return found


def test_nsmc():
    source = {"path": "nsmc/val.tsv.gz", "columns": {"text": "document", "label": "label"}}
    found = rows(source, ("text", "label"))
    assert labels({"val": [r["label"] for r in found]}).counts["val"] == {"0": 2500, "1": 2500}
    texts = [r["text"] for r in found]
    for kind in ("character", "bpe"):
        tokenizer = train_tokenizer(TokenizerSpec(kind=kind, vocab_size=2000 if kind == "bpe" else None), texts)
        assert [tokenizer.decode(i) for i in tokenizer.encode_batch(texts)] == [tokenizer.normalize(t) for t in texts]


def test_banking77_every_tenth_row_is_validation():
    train = {"path": "banking77/train.csv.gz", "columns": {"text": "text", "label": "category"}}
    val = rows({**train, "take": {"every": 10}}, ("text", "label"))
    rest = rows({**train, "drop": {"every": 10}}, ("text", "label"))
    assert (len(val), len(rest)) == (1001, 9002)
    test = rows({**train, "path": "banking77/test.csv.gz"}, ("text", "label"))
    assert len(test) == 3080
    found = labels(
        {"train": [r["label"] for r in rest], "val": [r["label"] for r in val], "test": [r["label"] for r in test]}
    )
    assert len(found.names) == 77


@pytest.mark.parametrize(
    "path, sentences, words",
    [
        ("ud_english_ewt/dev.conllu.gz", 2001, 25147),
        ("ud_english_ewt/test.conllu.gz", 2077, 25094),
        ("ud_korean_gsd/test.conllu.gz", 989, 11677),
    ],
)
def test_conllu(path, sentences, words):
    found = rows(path, ("words", "tags"), lists=("words", "tags"))
    assert (len(found), sum(len(r["words"]) for r in found)) == (sentences, words)
    assert len({t for r in found for t in r["tags"]}) <= 17


def test_multi30k():
    source = {"paths": {"source": "multi30k/test_2016_flickr.en.gz", "target": "multi30k/test_2016_flickr.de.gz"}}
    found = rows(source, ("source", "target"))
    assert len(found) == 1000 and found[0]["source"].startswith("A man in an orange hat")


def test_tinyshakespeare_cut_as_nanogpt_cuts_it():
    source = {"path": "tinyshakespeare/input.txt.gz", "unit": "file"}
    train, val = (rows({**source, "span": s}, ("text",))[0]["text"] for s in ([0.0, 0.9], [0.9, 1.0]))
    assert (len(train), len(val)) == (1003854, 111540)
    tokenizer = train_tokenizer(TokenizerSpec(kind="character"), [train])
    assert tokenizer.vocab_size == 65 + 6
    assert tokenizer.decode(tokenizer.encode_stream([val]).tolist()) == val


def test_tatoeba_without_header():
    source = {"path": "tatoeba_ko_en/test.tsv.gz", "header": False, "columns": {"source": 1, "target": 0}}
    assert rows(source, ("source", "target"))[0]["source"] == "점프해."
