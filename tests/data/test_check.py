"""The statistics of `jorip check`."""

import json

import pytest
import torch

from jorip.core.errors import DataError
from jorip.data.check import DataCheck, SplitCheck, duplicates, labels, lengths, padded_share, padding, unknown_rate


def test_lengths_and_truncation():
    found = lengths(range(1, 101), max_len=90)
    assert (found.min, found.median, found.p95, found.max, found.truncated, found.tokens) == (1, 50, 95, 100, 10, 5050)
    assert lengths([]).examples == 0 and lengths([3]).median == lengths([3]).p95 == 3
    assert lengths([3, 9]).truncated == 0


def test_padding_and_unknown():
    assert padded_share(torch.tensor([1, 3]), [[0, 1]]) == pytest.approx(1 / 3)
    assert padded_share(torch.tensor([0]), [[0]]) == 0.0
    found = padding(torch.arange(1, 400), 500)
    assert found.buckets < found.random and found.batches > 100
    assert unknown_rate(torch.tensor([0, 5, 0, 7]), 0) == 0.5
    assert unknown_rate(torch.tensor([]), 0) == 0.0


def test_labels():
    found = labels({"train": ["b", "a", "b"], "test": ["b", "b", "a", "b"]})
    assert found.names == ["a", "b"] and found.counts["train"] == {"a": 1, "b": 2}
    assert found.majority == 0.75
    with pytest.raises(DataError, match="train: has only the label 'a'; a classifier needs two classes"):
        labels({"train": ["a", "a"]})
    with pytest.raises(DataError, match="train: has no labels"):
        labels({"train": []})
    with pytest.raises(DataError, match=r"val: labels that train never shows: 'positve' \(2 times\); did you mean"):
        labels({"train": ["positive", "negative"], "val": ["positve", "positve"]})
    with pytest.raises(DataError, match=r"'l0' \(1 times\), .* and 2 more"):
        labels({"train": ["a", "b"], "test": [f"l{i}" for i in range(12)]})


def test_duplicates_and_json():
    assert duplicates(["가  나", "b"], ["가 나", "b ", "c"]) == 2
    check = DataCheck({"train": SplitCheck(3, 1, 0, {"source": lengths([1, 2])}, {"source": 0.0})})
    assert json.loads(json.dumps(check.as_dict()))["splits"]["train"]["streams"]["source"]["max"] == 2
