"""Associative recall and copy: answers as asked, splits that share nothing."""

import pytest

from jorip.core.errors import ConfigError
from jorip.data import copying, recall
from jorip.data.builtin import parse_options
from jorip.data.draws import Draws
from jorip.data.readers import read_all
from jorip.data.source import Source

PAIRS = {"train": 60, "val": 8, "test": 8, "pairs": 5, "queries": 3, "keys": 9, "values": 4}
COPIES = {"train": 60, "val": 8, "test": 8, "symbols": 5, "min_length": 6, "max_length": 9}

NAMES = {recall: "recall", copying: "copy"}


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        (recall, PAIRS | {"pairs": 10}, "10 pairs need as many different keys, found keys=9"),
        (recall, PAIRS | {"queries": 6}, "queries are of the row's own keys, at most pairs=5, found 6"),
        (recall, PAIRS | {"pair": 6}, r"builtin recall: unknown key 'pair'; did you mean 'pairs'\?"),
        (
            recall,
            {"pairs": 1, "queries": 1, "keys": 1, "values": 2, "train": 60},
            "recall: train: 60 different rows of 1 pairs",
        ),
        (copying, COPIES | {"min_length": 10}, "min_length is above max_length, found 10 and 9"),
        (copying, COPIES | {"symbol": 10}, r"builtin copy: unknown key 'symbol'; did you mean 'symbols'\?"),
        (
            copying,
            COPIES | {"min_length": 1, "max_length": 1},
            "copy: train: 60 different rows of 1 to 1 symbols cannot",
        ),
    ],
)
def test_mistakes(module, options, said):
    with pytest.raises(ConfigError, match=said):
        module.generate(parse_options(NAMES[module], options))


def test_recall_asks_for_what_was_said():
    made = recall.generate(parse_options("recall", PAIRS))
    for row in made["train"]:
        said = dict(zip(row["words"][:10:2], row["words"][1:10:2]))
        asked = row["words"][10:]
        assert len(said) == 5 and len(set(asked)) == 3
        assert row["tags"] == [None] * 10 + [said[key] for key in asked]
        assert row["text"] == f"{' '.join(row['words'][:10])} ? {asked[0]}" and row["label"] == said[asked[0]]
    assert {v for r in made["train"] for v in r["words"][1:10:2]} == {f"v{i}" for i in range(4)}


def test_copies():
    made = copying.generate(parse_options("copy", COPIES))
    lengths = set()
    for row in made["train"]:
        n = len(row["words"]) // 2
        lengths.add(n)
        assert row["words"][n:] == ["_"] * n and row["tags"] == [None] * n + row["words"][:n]
    assert lengths == {6, 7, 8, 9}


@pytest.mark.parametrize(("module", "options"), [(recall, PAIRS), (copying, COPIES)])
def test_splits_share_nothing_and_repeat(module, options):
    parsed = parse_options(NAMES[module], options)
    made = module.generate(parsed)
    assert [len(made[s]) for s in ("train", "val", "test")] == [60, 8, 8]
    heads = [tuple(w for w, t in zip(r["words"], r["tags"]) if t is None) for rows in made.values() for r in rows]
    assert len(set(heads)) == 76
    module.generate.cache_clear()
    assert module.generate(parsed) == made
    assert module.generate(parsed.model_copy(update={"seed": 3})) != made


def test_as_sources():
    rows = read_all(Source.parse({"builtin": "recall", "options": PAIRS, "limit": 2}), ("words", "tags"))
    assert len(rows) == 2 and set(rows[0]) == {"words", "tags", "row"}
    one = read_all(Source.parse({"builtin": "recall", "options": PAIRS, "split": "test"}), ("text", "label"))
    assert len(one) == 8 and " ? k" in one[0]["text"]
    with pytest.raises(ConfigError, match="builtin copy has no 'text'; it has words, tags"):
        read_all(Source.parse({"builtin": "copy", "options": COPIES}), ("text", "label"))


def test_draws_are_pcg64s_raw_bits():
    assert [round(float(x), 12) for x in Draws(0, 1).uniform(3)] == UNIFORM
    assert set(Draws(5).below(3, 100).tolist()) == {0, 1, 2}
    assert sorted(Draws(5).orders(2, 4)[1].tolist()) == [0, 1, 2, 3]


UNIFORM = [0.889738791278, 0.557138050206, 0.800908086892]
