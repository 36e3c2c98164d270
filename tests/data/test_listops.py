"""ListOps: valued as written, of the asked lengths, in splits that share nothing."""

from collections import Counter

import pytest

from jorip.core.errors import ConfigError
from jorip.data.listops import ListOpsOptions, generate
from jorip.data.readers import read_all
from jorip.data.source import Source

SMALL = ListOpsOptions(train=300, val=40, test=40, min_length=20, max_length=90)


@pytest.fixture(scope="module")
def made():
    return generate(SMALL)


def value(text: str) -> int:
    """By the definition, letter by letter."""
    letters = iter(text)

    def node(letter: str) -> int:
        if letter.isdigit():
            return int(letter)
        found = []
        while (inner := next(letters)) != "]":
            found.append(node(inner))
        found.sort()
        n = len(found)
        median = (found[(n - 1) // 2] + found[n // 2]) // 2
        return {"n": found[0], "x": found[-1], "m": median, "s": sum(found) % 10}[letter]

    made = node(next(letters))
    assert next(letters, None) is None
    return made


def depth(text: str) -> int:
    levels, now = 1, 1
    for letter in text:
        now += (letter in "nxms") - (letter == "]")
        levels = max(levels, now)
    return levels


def test_values_and_lengths(made):
    for row in made["train"]:
        assert str(value(row["text"])) == row["label"]
        assert 20 < len(row["text"]) < 90
        assert 3 <= depth(row["text"]) <= 10
    assert value("x29n34]]") == 9 and value("s98]") == 7 and value("m1456]") == 4


def test_all_operators_arguments_and_answers_occur(made):
    text = "".join(r["text"] for r in made["train"])
    assert set(text) == set("0123456789nxms]")
    assert len({r["label"] for r in made["train"]}) == 10
    counts = Counter(letter for letter in text if letter in "nxms")
    assert max(counts.values()) < 1.3 * min(counts.values())
    arguments = Counter()
    stack: list[int] = []
    for letter in text:
        if letter == "]":
            arguments[stack.pop()] += 1
        elif stack:
            stack[-1] += 1
        if letter in "nxms":
            stack.append(0)
    assert set(arguments) == set(range(2, 11))


def test_splits_share_nothing_and_do_not_depend_on_training(made):
    texts = [r["text"] for rows in made.values() for r in rows]
    assert len(set(texts)) == len(texts) == 380
    more = generate(SMALL.model_copy(update={"train": 400}))
    assert more["test"] == made["test"] and more["val"] == made["val"] and more["train"][:300] == made["train"]
    generate.cache_clear()
    assert generate(SMALL) == made
    assert generate(SMALL.model_copy(update={"seed": 1}))["test"] != made["test"]


def test_the_first_expressions_stay_what_they_are():
    """Data that scores were published of must not change."""
    rows = generate(ListOpsOptions(train=1, val=1, test=2, min_length=4, max_length=12))
    assert [(r["text"], r["label"]) for r in rows["test"]] == FIRST


FIRST = [("m576]", "6"), ("s60191]", "7")]


def test_defaults_are_long_range_arenas():
    options = ListOpsOptions()
    assert (options.min_length, options.max_length, options.max_depth, options.max_args) == (500, 2000, 10, 10)
    assert (options.train, options.val, options.test) == (96_000, 2_000, 2_000)
    rows = generate(ListOpsOptions(train=5, val=5, test=5))["train"]
    assert all(500 < len(r["text"]) < 2000 and str(value(r["text"])) == r["label"] for r in rows)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_length": 10, "max_length": 11}, "no length lies between min_length and max_length, found 10 and 11"),
        ({"max_dept": 3}, r"builtin listops: unknown key 'max_dept'; did you mean 'max_depth'\?"),
        ({"max_args": 1}, "builtin listops.max_args: .*found 1"),
        (
            {"min_length": 3, "max_length": 5, "max_depth": 2, "max_args": 2, "train": 9999},
            r"builtin listops: 13999 different expressions of 3 to 5 tokens were asked for and 400 found",
        ),
    ],
)
def test_mistakes(options, said, monkeypatch):
    monkeypatch.setattr("jorip.data.listops._AT_ONCE", 5000)
    with pytest.raises(ConfigError, match=said):
        read_all(Source.parse({"builtin": "listops", "options": options}), ("text", "label"))


def test_as_a_source():
    options = {"train": 3, "val": 2, "test": 2, "min_length": 4, "max_length": 30}
    rows = read_all(Source.parse({"builtin": "listops", "split": "val", "options": options}), ("text", "label"))
    assert [r["row"] for r in rows] == [1, 2] and set(rows[0]) == {"text", "label", "row"}
    with pytest.raises(ConfigError, match="builtin listops has no split 'dev'"):
        Source.parse({"builtin": "listops", "split": "dev"})
    with pytest.raises(ConfigError, match="builtin listops has no 'source'; it has text, label"):
        read_all(Source.parse({"builtin": "listops", "options": options}), ("source",))
