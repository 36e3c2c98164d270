"""Reading a run's events: tolerant of a kill, not of damage."""

import json

import pytest

from jorip.core.errors import DataError
from jorip.report.history import parameters, read_history, thin
from jorip.report.scores import keep_scores, read_scores
from tests.report.runs import events, write_run


def test_kinds_are_sorted_and_curves_have_finite_values_only(tmp_path):
    lines = events()
    lines[2]["loss"] = "nan"
    history = read_history(write_run(tmp_path, lines))
    assert len(history.train) == 10 and len(history.evaluations) == 2 and len(history.samples) == 2
    assert len(history.curve("train", "loss")) == 9
    assert history.curve("evaluation", "exact_match") == [(50, 0.5), (100, 1.0)]
    assert history.metrics == ["loss", "exact_match"]
    assert history.best is not None and history.best["step"] == 100
    assert history.end is not None and history.end["reason"] == "steps"


def test_a_line_that_was_cut_off_by_a_kill_is_left_out(tmp_path):
    file = write_run(tmp_path) / "events.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"kind": "train", "st')
    assert len(read_history(tmp_path).train) == 10


def test_damage_is_named_with_its_line(tmp_path):
    file = write_run(tmp_path) / "events.jsonl"
    file.write_bytes(b'{"kind": "train", "step": 1}\nnonsense\n')
    with pytest.raises(DataError, match=r"events.jsonl: line 2 is damaged"):
        read_history(tmp_path)
    write_run(tmp_path)
    (tmp_path / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"run.json: damaged"):
        read_history(tmp_path)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="so it is no run: give the folder that `jorip train` made"):
        read_history(tmp_path)


def test_thinning_keeps_means_and_the_last_step():
    points = [(i, float(i)) for i in range(1, 1001)]
    few = thin(points, 100)
    assert len(few) == 100 and few[-1][0] == 1000
    assert few[0][1] == sum(range(1, 11)) / 10
    assert thin(points, 1000) == points


def test_scores_are_kept_beside_a_run_only(tmp_path):
    write_run(tmp_path / "run")
    assert keep_scores(tmp_path / "run", "test", {"bleu": 35.0, "signature": "x"})
    assert read_scores(tmp_path / "run") == {"test": {"bleu": 35.0, "signature": "x"}}
    assert keep_scores(tmp_path, "test", {}) is None
    (tmp_path / "run" / "eval" / "test.json").write_text("[1", encoding="utf-8")
    with pytest.raises(DataError, match="delete it and run `jorip eval` again"):
        read_scores(tmp_path / "run")


def test_parameters_come_from_the_best_checkpoint(tmp_path):
    assert parameters(tmp_path) is None
    header = json.dumps({"__metadata__": {}, "a.weight": {"shape": [3, 4]}, "a.bias": {"shape": [4]}}).encode()
    folder = tmp_path / "ckpt" / "step-00000001"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "ckpt" / "best.json").write_text('{"name": "step-00000001"}', encoding="utf-8")
    assert parameters(tmp_path) == 16
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert parameters(tmp_path) is None
