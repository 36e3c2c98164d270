"""The YAML form of a data source and what it refuses."""

import pytest

from jorip.core.errors import ConfigError
from jorip.data.source import Source


@pytest.mark.parametrize(
    "name, kind",
    [("a.txt", "text"), ("a.TSV.gz", "tsv"), ("a.csv", "csv"), ("a.jsonl.gz", "jsonl"), ("x/a.conllu", "conllu")],
)
def test_format_from_the_ending(name, kind):
    assert Source.parse(name).kind == kind
    assert Source.parse({"path": name, "format": "tsv"}).kind == "tsv"


def test_builtin_and_parallel():
    assert Source.parse({"builtin": "dates", "split": "test_formats"}).kind == "dates"
    assert Source.parse({"paths": {"source": "a", "target": "b"}}).kind == "parallel"


@pytest.mark.parametrize(
    "value, message",
    [
        ({}, "give exactly one of path, paths, builtin; found none"),
        ({"path": "a.tsv", "builtin": "dates"}, "found path, builtin"),
        ({"path": "a.tsv", "colums": {}}, r"data: unknown key 'colums'; did you mean 'columns'\?"),
        ({"path": "a.tsv", "take": {"evry": 3}}, r"unknown key 'evry'; did you mean 'every'\?"),
        ({"path": "a.tsv", "take": {"every": 0}}, "data.take.every: .*found 0"),
        ({"path": "a.tsv", "limit": "many"}, "data.limit: .*found 'many'"),
        ({"path": "a.tsv", "encoding": "cp94"}, r"unknown encoding 'cp94'; did you mean 'cp949'\?"),
        ({"path": "a.tsv", "encoding": "base64"}, "unknown encoding 'base64'"),
        ({"builtin": "dates", "split": "tset"}, r"no split 'tset'; did you mean 'test'\?"),
        ({"path": "a.tsv", "split": "test"}, "split and options belong to a builtin"),
        ({"paths": {"source": "a"}}, "at least two line-aligned files"),
        ({"paths": {"a": "a", "b": "b"}, "format": "tsv"}, "format tsv takes one path"),
        ({"path": "a", "format": "parallel"}, "format parallel needs paths"),
        ({"path": "a.tsv", "columns": {"row": 1}}, "a role cannot be called 'row'"),
        ({"path": "a.txt", "span": [0.5, 0.2], "unit": "file"}, "span is two fractions"),
        ({"path": "a.txt", "span": [0, 0.2]}, "it needs unit: file"),
        (7, "data: .*found 7"),
    ],
)
def test_refusals(value, message):
    with pytest.raises(ConfigError, match=message):
        Source.parse(value)


def test_unknown_ending():
    with pytest.raises(ConfigError, match=r"a.parquet: cannot tell the format from the ending '.parquet'; set format:"):
        _ = Source.parse("a.parquet").kind


@pytest.mark.parametrize(
    "value",
    [
        "a.tsv",
        {"path": "a.txt", "unit": "file", "span": [0, 0.9]},
        {"path": "a.csv", "take": {"every": 10}, "columns": {"text": 0}},
        {"builtin": "dates", "split": "val", "options": {"seed": 1}},
    ],
)
def test_what_a_run_saves_reads_back(value):
    source = Source.parse(value)
    assert Source.parse(source.model_dump()) == Source.parse(source.model_dump(mode="json")) == source
