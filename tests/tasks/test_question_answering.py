"""Extractive question answering: windows, places, scores, and a run that learns."""

import json

import pytest
import torch

import jorip
from jorip.core.errors import DataError
from jorip.data.tokenizers import TokenizerSpec, train_tokenizer
from jorip.tasks.answers import Window, best_span, exact, f1, windows
from jorip.tasks.config import run_config
from jorip.tasks.run import open_run, prepare
from jorip.training.start import train

TEXT = "Kim lives in Seoul. Lee lives in Busan."


@pytest.fixture(scope="module")
def words():
    return train_tokenizer(TokenizerSpec(kind="character"), [TEXT, "where?"])


@pytest.mark.parametrize(("limit", "stride"), [(None, None), (25, None), (25, 3), (14, 100), (12, 1)])
def test_windows_cover_the_context(words, limit, stride):
    found = windows(0, words, "where?", TEXT, limit, stride)
    covered = set()
    for w in found:
        assert limit is None or len(w.ids) <= limit
        assert len(w.ids) == len(w.segments)
        for i, (a, b) in enumerate(w.offsets):
            assert words.decode([w.ids[w.first + i]]) == TEXT[a:b]
            covered.add(a)
    assert covered == set(range(len(TEXT)))
    assert limit is not None or len(found) == 1


def test_questions_that_are_cut_are_counted(tmp_path):
    """The context goes on in further windows; of the question the end is lost."""
    task = prepare(config(tmp_path, ROWS))
    long, short = {"context": "Kim lives now " * 30, "question": "where ? " * 30}, {"context": "Kim", "question": "?"}
    assert len(task.predict([long, short, long | {"question": "where"}])) == 3 and task.cut == 1
    more = [{"row": i, "answers": [], "starts": []} | r for i, r in enumerate([long, short])]
    assert task.encode(more, "val").truncated == 1


def test_places_and_spans_are_inverse(words):
    (w,) = windows(0, words, "who?", TEXT, None, None)
    start = TEXT.index("Busan")
    a, b = w.place(start, start + 5)
    scores = torch.zeros(len(w.ids), 2)
    scores[a, 0] = scores[b, 1] = 3
    assert best_span(scores, w, 30) == (6.0, start, start + 5)
    assert best_span(scores, w, 4)[1:] != (start, start + 5)  # too long an answer
    backwards = torch.zeros(len(w.ids), 2)
    backwards[b, 0] = backwards[a, 1] = 3
    assert best_span(backwards, w, 30)[0] == 3.0
    small = Window(0, w.ids, w.segments, w.first, w.offsets[:10])
    assert small.place(start, start + 5) == (0, 0)


def test_scores_as_squad_counts_them():
    assert exact("the Seoul!", ["Busan", "seoul"]) == 1 and exact("Seoul city", ["Seoul"]) == 0
    assert f1("Seoul city", ["Seoul"]) == pytest.approx(2 / 3) and f1("x", ["Seoul"]) == 0
    assert exact("", []) == f1("", []) == 1 and exact("x", []) == f1("x", []) == 0  # no answer


def config(tmp_path, rows, **training):
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    override = {"d_model": 32, "n_layers": 2, "n_heads": 2, "**.dropout": 0.0, "embedding": {"tokens": {"segments": 2}}}
    return run_config(
        {
            "task": "question_answering",
            "data": {"train": "qa.jsonl", "val": "qa.jsonl", "test": "qa.jsonl", "tokens": 400, "max_len": 40},
            "tokenizer": {"kind": "words", "min_frequency": 1},
            "model": {"override": override},
            "training": {"steps": 60, "schedule": {"kind": "constant"}, "optimizer": {"lr": 3e-3}, "threads": 1,
                         "evaluate_every": 60, **training},
            "base": str(tmp_path),
        },
        "test",
    )  # fmt: skip


ROWS = [
    {"context": f"{name} lives in {city} now", "question": "where ?", "answers": [city]}
    for name in ("Kim", "Lee", "Park") for city in ("Seoul", "Busan", "Daegu", "Jeju")
]  # fmt: skip


def test_a_run_learns_to_answer(tmp_path):
    settings = config(tmp_path, ROWS)
    train(prepare(settings), settings.training, tmp_path / "run")
    opened = open_run(tmp_path / "run")
    assert opened.evaluate("test")["exact_match"] == 1
    (row,) = opened.predict([{"context": "Lee lives in Daegu now", "question": "where ?"}])
    assert row["prediction"] == "Daegu"
    assert isinstance(jorip.load(tmp_path / "run").spec.readout, jorip.Spans)


def test_questions_without_an_answer(tmp_path):
    more = [{"context": f"{n} sleeps now", "question": "where ?", "answers": []} for n in ("Kim", "Lee", "Park")]
    settings = config(tmp_path, ROWS + more)
    train(prepare(settings), settings.training, tmp_path / "run")
    opened = open_run(tmp_path / "run")
    asked = [
        {"context": "Lee sleeps now", "question": "where ?"},
        {"context": "Kim lives in Jeju now", "question": "where ?"},
    ]
    assert [r["prediction"] for r in opened.predict(asked)] == ["", "Jeju"]


def test_an_answer_that_is_not_in_its_context(tmp_path):
    settings = config(tmp_path, [{"context": "a b", "question": "q", "answers": ["c"]}])
    with pytest.raises(DataError, match="row 1: the answer 'c' does not stand in the context"):
        prepare(settings)
