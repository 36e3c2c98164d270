"""`jorip train` and `jorip check`: what they print, where they write, what they refuse."""

import json
import shutil

import pytest
import yaml

SHORT = ("training.steps=2", "training.evaluate_every=2")


def test_train_writes_a_run_and_says_what_to_type_next(jorip, place, tmp_path):
    run = tmp_path / "run"
    done = jorip("train", place / "classify.yaml", *SHORT, "--out", run)
    assert done.code == 0
    assert f'jorip predict {run} "your text here"' in done.out and f"jorip eval {run} " in done.out
    assert f"jorip report {run}" in done.out
    assert "validation: loss" in done.err and "finished (steps): 2 steps" in done.err
    assert {"run.json", "events.jsonl", "ckpt"} <= {p.name for p in run.iterdir()}


def test_a_second_call_resumes_and_has_nothing_left_to_do(jorip, place, tmp_path):
    call = ("train", place / "tag.yaml", *SHORT, "--out", tmp_path / "run", "--json")
    first, second = jorip(*call), jorip(*call)
    assert first.code == second.code == 0
    assert second.json["step"] == 2 and second.json["best"] == first.json["best"]
    assert "resuming" in second.err and "resuming" not in second.out


def test_a_run_is_not_resumed_with_other_settings(jorip, place, runs):
    done = jorip("train", place / "tag.yaml", "training.optimizer.lr=0.5", "--out", runs / "tag")
    assert done.code == 2 and "optimizer.lr: 0.001 -> 0.5" in done.err and done.out == ""


def test_run_names_go_under_runs(jorip, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert jorip("train", place / "tag.yaml", *SHORT, "--run", "mine").code == 0
    assert (tmp_path / "runs" / "mine" / "run.json").is_file()
    assert jorip("eval", "mine", "--json").json["run"].endswith("mine")
    wrong = jorip("report", "mien")
    assert wrong.code == 2 and "did you mean 'mine'?" in wrong.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--run", "a", "--out", "b"), "say the same thing twice"),
        (("--run", "a/b"), "--run takes a name, found 'a/b'"),
        (("trainig.steps=1",), "did you mean 'training'?"),
        (("training.stepz=1",), "did you mean 'steps'?"),
        (("training.steps=many",), "found 'many'"),
        (("training.steps",), "an override is written key.key=value, found 'training.steps'"),
        (("model.recipe=encodr-small",), "did you mean 'encoder-small'?"),
        (("model.override.n_heads=3",), "d_model must be a multiple of n_heads, found 16 and 3"),
        (("task=clasify",), "'clasify' is not one of"),
        (("data.train=nothing.tsv",), "nothing.tsv"),
    ],
)
def test_wrong_settings(jorip, place, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    done = jorip("train", place / "classify.yaml", *options)
    assert done.code == (3 if "nothing.tsv" in message else 2)
    assert message in done.err and "Traceback" not in done.err and done.out == ""
    assert not (tmp_path / "runs").exists()


def test_a_name_that_is_nearly_a_recipe(jorip):
    done = jorip("train", "dats")
    assert done.code == 2 and "there is no recipe or file called 'dats'; did you mean 'dates'?" in done.err


def test_print_config_is_the_whole_configuration_and_trains_nothing(jorip, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = jorip("train", place / "classify.yaml", "training.optimizer.lr=2e-3", "--print-config")
    tree = yaml.safe_load(done.out)
    assert done.code == 0 and tree["training"]["optimizer"]["lr"] == 0.002 and tree["training"]["clip"] == 1.0
    assert list(tmp_path.iterdir()) == []
    again = tmp_path / "again.yaml"
    again.write_text(done.out, encoding="utf-8")
    assert yaml.safe_load(jorip("train", again, "--print-config").out)["training"] == tree["training"]


def test_other_processes_are_silent(jorip, place, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    done = jorip("train", place / "classify.yaml", "--print-config")
    assert (done.code, done.out, done.err) == (0, "", "")
    done = jorip("train", place / "classify.yaml", "trainig.steps=1")
    assert (done.code, done.out, done.err) == (2, "", "")


@pytest.mark.parametrize("task", ["translate", "language_model", "classify", "tag"])
def test_check_looks_before_training(jorip, place, task):
    done = jorip("check", place / f"{task}.yaml", "--json")
    assert done.code == 0
    assert done.json["train"]["rows"] > 0 and done.json["cost"]["parameters"] > 0 and done.json["problems"] == []
    shown = jorip("check", place / f"{task}.yaml")
    assert shown.code == 0 and f"ready: jorip train {place / f'{task}.yaml'}" in shown.out


def test_check_finds_what_training_would_refuse(jorip, place, tmp_path):
    shutil.copy(place / "classify.yaml", tmp_path)
    (tmp_path / "films.tsv").write_text("text\tlabel\n" + "only one\tgood\n" * 5, encoding="utf-8")
    done = jorip("check", tmp_path / "classify.yaml", "--json")
    assert done.code == 3 and len(done.json["problems"]) == 1
    shown = jorip("check", tmp_path / "classify.yaml")
    assert shown.code == 3 and "problem: " in shown.err and "ready" not in shown.out


def test_check_print_config(jorip, place):
    assert yaml.safe_load(jorip("check", place / "tag.yaml", "--print-config").out)["task"] == "tag"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.tsv", b"", "is empty"),
        ("bytes.tsv", b"text\tlabel\n" + b"\xb0\xa1\xb3\xaa\tgood\n" * 9, "utf-8"),
        ("column.tsv", b"txt\tlabel\nfine\tgood\n", "no column 'text'"),
    ],
)
def test_bad_data(jorip, place, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    source = json.dumps({"path": str(tmp_path / name)})
    done = jorip("train", place / "classify.yaml", f"data.train={source}", "--out", tmp_path / "run")
    assert done.code == 3 and message in done.err.lower() and name in done.err


def test_texts_that_are_cut_and_rows_that_are_put_aside_are_said(jorip, place, tmp_path):
    rows = "text\tlabel\n" + "정말 좋은 영화\tgood\n지루한 영화\tbad\n" * 6 + "no label\n"
    (tmp_path / "films.tsv").write_text(rows, encoding="utf-8")
    run = (place / "classify.yaml").read_text(encoding="utf-8")
    source = "{path: films.tsv, bad_rows: 1}"
    (tmp_path / "run.yaml").write_text(run.replace("films.tsv", source), encoding="utf-8")
    done = jorip("train", tmp_path / "run.yaml", "data.max_len=8", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "warning: train: 6 of 12 examples are cut at 8 tokens\n" in done.err
    assert "warning: val: 6 of 12 examples are cut at 8 tokens\n" in done.err
    assert "warning: 2 bad rows are put aside, in quarantine.jsonl\n" in done.err
    (first, _) = (tmp_path / "run" / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(first)["line"] == 14
