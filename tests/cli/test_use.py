"""Using a trained run: eval, predict, generate, report."""

import gzip
import json

import pytest


def test_eval_scores_every_test_set_and_keeps_the_scores(jorip, runs):
    done = jorip("eval", runs / "translate", "--json")
    assert done.code == 0 and list(done.json["scores"]) == ["easy", "same"]
    assert done.json["scores"]["easy"]["examples"] == 12
    kept = json.loads((runs / "translate" / "eval" / "easy.json").read_text(encoding="utf-8"))
    assert kept["loss"] == pytest.approx(done.json["scores"]["easy"]["loss"])


def test_eval_of_a_split(jorip, runs):
    done = jorip("eval", runs / "classify", "--split", "val")
    assert done.code == 0 and "accuracy" in done.out and ": val" in done.out
    assert list(jorip("eval", runs / "language_model", "--json").json["scores"]) == ["val"]  # it has no test set
    wrong = jorip("eval", runs / "classify", "--split", "tset")
    assert wrong.code == 2 and "did you mean 'test'?" in wrong.err


def test_predict_writes_a_line_for_each_text(jorip, runs):
    done = jorip("predict", runs / "classify", "좋은 영화", "지루한 영화")
    lines = done.out.splitlines()
    assert done.code == 0 and len(lines) == 2
    assert all(line.split("\t")[0] in ("good", "bad") and 0 < float(line.split("\t")[1]) <= 1 for line in lines)


def test_predict_as_json_is_one_list(jorip, runs):
    done = jorip("predict", runs / "classify", "좋은 영화", "지루한 영화", "--json")
    assert [r["text"] for r in done.json] == ["좋은 영화", "지루한 영화"]
    assert all(sum(r["probabilities"].values()) == pytest.approx(1, abs=1e-4) for r in done.json)
    assert "좋은" in done.out  # Hangul is written as it is
    one = jorip("predict", runs / "translate", "3월 4일", "--json").json
    assert len(one) == 1 and isinstance(one[0]["prediction"], str)


def test_predict_reads_files_and_standard_input(jorip, runs, tmp_path, typed):
    args = jorip("predict", runs / "tag", "a cat", "a dog").out
    assert [line.count("/") for line in args.splitlines()] == [2, 2]
    plain, packed, rows = tmp_path / "a.txt", tmp_path / "a.txt.gz", tmp_path / "a.jsonl"
    plain.write_bytes("\ufeffa cat\r\na dog\r\n".encode())
    packed.write_bytes(gzip.compress(b"a cat\na dog\n"))
    rows.write_text('{"words": ["a", "cat"]}\n\n{"words": ["a", "dog"]}\n', encoding="utf-8")
    for file in (plain, packed, rows):
        assert jorip("predict", runs / "tag", "--input", file).out == args
    for call in (("-",), (), ("--input", "-")):
        typed(b"a cat\na dog\n")
        assert jorip("predict", runs / "tag", *call).out == args


@pytest.mark.parametrize("way", [(), ("--json",)])
def test_predict_says_how_many_texts_it_cut(jorip, place, tmp_path, way):
    """Once, on standard error; the answers are on standard output as always."""
    small = ("training.steps=1", "training.evaluate_every=1", "data.max_len=12")
    assert jorip("train", place / "classify.yaml", *small, "--out", tmp_path / "run").code == 0
    texts = ["영화"] * 300 + ["정말 " * 9, "지루한 " * 9]  # more than are read at a time
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    done = jorip("predict", tmp_path / "run", "--input", tmp_path / "texts.txt", *way)
    assert done.code == 0 and done.err == "warning: 2 of 302 inputs were cut at 12 tokens\n"
    assert len(done.json if way else done.out.splitlines()) == 302
    assert jorip("predict", tmp_path / "run", *texts[:2], *way).err == ""


@pytest.mark.parametrize("way", [(), ("--json",), ("--stream",)])
def test_generate_says_how_many_sources_it_cut(jorip, place, tmp_path, way):
    small = ("training.steps=1", "training.evaluate_every=1", "data.max_len=8")
    assert jorip("train", place / "translate.yaml", *small, "--out", tmp_path / "run").code == 0
    done = jorip("generate", tmp_path / "run", "1월 1일", "12월 12일 " * 3, *way)
    assert done.code == 0 and done.err == "warning: 1 of 2 inputs were cut at 8 tokens\n"
    assert jorip("generate", tmp_path / "run", "1월 1일", *way).err == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', "line 2: not valid JSON"),
        ("a.jsonl", b"[1]\n", "line 1: a line must be an object"),
        ("a.txt", "fine\n가나".encode("cp949"), "line 2: byte 0 is not UTF-8"),
        ("a.gz", b"no gzip", "is not a whole gzip file"),
        ("a.gz", gzip.compress(b"a cat\n" * 99, mtime=0)[:-9], "is not a whole gzip file"),
        ("missing.txt", None, "cannot be read: No such file"),
    ],
)
def test_bad_input_files(jorip, runs, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = jorip("predict", runs / "classify", "--input", tmp_path / name)
    assert done.code == 3 and message in done.err and name in done.err and done.out == ""


def test_bad_calls(jorip, runs, tmp_path, monkeypatch):
    both = jorip("predict", runs / "classify", "text", "--input", "file")
    assert both.code == 2 and "give one of them" in both.err
    role = jorip("predict", runs / "classify", '{"txt": "x"}')
    assert role.code == 2 and "'text'" in role.err
    absent = jorip("predict", tmp_path / "nowhere", "x")
    assert absent.code == 2 and "there is no run or folder" in absent.err
    empty = jorip("predict", tmp_path, "x")
    assert empty.code == 4
    monkeypatch.setattr("sys.stdin", None)
    nothing = jorip("predict", runs / "classify")
    assert nothing.code == 2 and "nothing to read" in nothing.err


def test_a_damaged_checkpoint_is_refused(jorip, place, tmp_path):
    run = tmp_path / "run"
    assert jorip("train", place / "tag.yaml", "training.steps=1", "training.evaluate_every=1", "--out", run).code == 0
    for weights in run.glob("ckpt/*/model.safetensors"):
        raw = bytearray(weights.read_bytes())
        raw[-3] ^= 1
        weights.write_bytes(raw)
    done = jorip("predict", run, "a cat")
    assert done.code == 4 and "damaged" in done.err and "Traceback" not in done.err


def test_generate_goes_on_with_the_prompt(jorip, runs, typed):
    run = runs / "language_model"
    drawn = ("--temperature", "0.9", "--seed", "3", "--max-new-tokens", "6")
    done = jorip("generate", run, "to be", "not", *drawn)
    assert done.code == 0 and done.out.startswith("to be") and "not" in done.out
    assert jorip("generate", run, "to be", "not", *drawn).out == done.out
    items = jorip("generate", run, "to be", "--json", *drawn).json
    assert (
        items[0]["prompt"] == "to be" and "to be" + items[0]["text"] == jorip("generate", run, "to be", *drawn).out[:-1]
    )
    typed(b"to be\n")
    assert jorip("generate", run, "-", *drawn).out.startswith("to be")


def test_generate_streams_the_same_text(jorip, runs):
    whole = jorip("generate", runs / "language_model", "to be", "--no-stream")
    streamed = jorip("generate", runs / "language_model", "to be", "--stream")
    assert streamed.code == 0 and streamed.out == whole.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--stream", "--json"), "--stream and --json exclude each other"),
        (("--stream", "--beams", "2"), "--stream and --beams exclude each other"),
        (("--max-new-tokens", "0"), "--max-new-tokens"),
        (("--top-p", "1.5"), "--top-p"),
    ],
)
def test_generate_refuses(jorip, runs, options, message):
    done = jorip("generate", runs / "language_model", "x", *options)
    assert done.code == 2 and message in done.err


def test_a_classifier_does_not_generate(jorip, runs):
    done = jorip("generate", runs / "classify", "x")
    assert done.code == 2 and "a classify model does not generate text: use predict" in done.err


def test_report_of_a_real_run(jorip, runs):
    jorip("eval", runs / "translate")
    done = jorip("report", runs / "translate")
    assert done.code == 0 and done.out.splitlines()[0] == str(runs / "translate" / "report.html")
    made = jorip("report", runs / "translate", "--json").json
    assert any("alignment-1.png" in p for p in made["png"]) and any("loss.png" in p for p in made["png"])
    page = (runs / "translate" / "report.html").read_text(encoding="utf-8")
    total = jorip("show", runs / "translate", "--json").json["total_parameters"]
    assert "1월 1일" in page and "easy" in page and f"<b>{total:,}</b>" in page
    wrong = jorip("report", runs)
    assert wrong.code == 3 and "so it is no run" in wrong.err
