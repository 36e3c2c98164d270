"""SQuAD's JSON as rows."""

import json

import pytest

from jorip.core.errors import DataError
from jorip.data.quarantine import Quarantine
from jorip.data.readers import read_all
from jorip.data.source import Source

TREE = {
    "version": "2.0",
    "data": [
        {"title": "t", "paragraphs": [{"context": "Seoul is big. 서울", "qas": [
            {"id": "1", "question": "What is big?", "answers": [{"text": "Seoul", "answer_start": 0}]},
            {"id": "2", "question": "Korean?", "answers": [{"text": "서울", "answer_start": 14}] * 2},
            {"id": "3", "question": "Why?", "is_impossible": True, "answers": []},
        ]}]}
    ],
}  # fmt: skip
MORE = {"optional": ("answers", "starts"), "lists": ("answers", "starts"), "whole": ("answers", "starts")}


def read(tmp_path, text, name="a.json", **more):
    (tmp_path / name).write_text(text, encoding="utf-8")
    quarantine = Quarantine()
    source = Source(path=name, **more)
    return read_all(source, ("context", "question"), base=tmp_path, quarantine=quarantine, **MORE), quarantine


def test_questions_are_rows(tmp_path):
    rows, _ = read(tmp_path, json.dumps(TREE))
    assert [(r["question"], r.get("answers"), r.get("starts")) for r in rows] == [
        ("What is big?", ["Seoul"], ["0"]), ("Korean?", ["서울", "서울"], ["14", "14"]), ("Why?", None, None)
    ]  # fmt: skip
    assert [r["row"] for r in rows] == [1, 2, 3] and rows[0]["context"] == "Seoul is big. 서울"


def test_one_question_a_line(tmp_path):
    line = {"context": "a b c", "question": "q", "answers": "a b"}
    rows, _ = read(tmp_path, json.dumps(line) + "\n", "a.jsonl")
    assert rows[0]["answers"] == ["a b"] and "starts" not in rows[0]  # one text is one answer


def test_an_answer_elsewhere_is_a_bad_row(tmp_path):
    tree = json.loads(json.dumps(TREE))
    tree["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = 3
    rows, quarantine = read(tmp_path, json.dumps(tree), bad_rows=2)
    assert len(rows) == 2 and quarantine.total == 1
    with pytest.raises(DataError, match="the answer 'Seoul' is not at character 3 of the context"):
        read(tmp_path, json.dumps(tree))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"not SQuAD's form, data > paragraphs > qas"),
        ('{"data": [{}]}', r"not SQuAD's form, data > paragraphs > qas \(no 'paragraphs'\)"),
        ("{", "not JSON: Expecting"),
        ('{"data": []}', "has no rows"),
        ('{"data": [{"paragraphs": [{"qas": [{"question": "q"}]}]}]}', "a question without 'context'"),
    ],
)
def test_other_files_are_refused(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)
