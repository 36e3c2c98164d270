"""The command line in this process, and one small trained run of each task."""

import io
import json
from pathlib import Path
from typing import NamedTuple

import pytest

from jorip.cli.main import main

TRAINING = (
    "training: {steps: 4, evaluate_every: 4, log_every: 2, threads: 1, precision: fp32, schedule: {kind: constant}}\n"
)
SIZES = "{d_model: 16, n_layers: 1, n_heads: 2}"
MODEL = f"tokenizer: {{kind: character}}\nmodel: {{override: {SIZES}}}\n"
TEXT = "{path: text.txt, unit: file}"
YAML = {
    "translate": "data: {train: rows.tsv, val: rows.tsv, test: {easy: rows.tsv, same: rows.tsv}, tokens: 200}\n"
    "tokenizer: {kind: character}\nmodel: {recipe: transformer-tiny}\nevaluation: {max_new_tokens: 4, generate: 2}\n",
    "language_model": f"data: {{train: {TEXT}, val: {TEXT}, tokens: 64, window: 16}}\n{MODEL}"
    "evaluation: {max_new_tokens: 5, samples: 1}\n",
    "classify": f"data: {{train: films.tsv, val: films.tsv, test: films.tsv, tokens: 64}}\n{MODEL}",
    "tag": f"data: {{train: words.jsonl, val: words.jsonl, test: words.jsonl, tokens: 64}}\n{MODEL}",
}
FILES = {
    "rows.tsv": "source\ttarget\n" + "".join(f"{i}월 {i}일\t{i:02}-{i:02}\n" for i in range(1, 13)),
    "text.txt": "to be or not to be\nthat is the question\n" * 8,
    "films.tsv": "text\tlabel\n" + "정말 좋은 영화\tgood\n지루한 영화\tbad\n" * 6,
    "words.jsonl": "".join(
        json.dumps({"words": ["a", w], "tags": ["D", "N"]}) + "\n" for w in ("cat", "dog", "cow", "hen")
    ),
}


class Answer(NamedTuple):
    """What a command line gave back."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def jorip(capsys):
    """`jorip("cost", "encoder-small")` -> Answer."""

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """A folder with data and a YAML file for each task."""
    folder = tmp_path_factory.mktemp("cli")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    for task, text in YAML.items():
        (folder / f"{task}.yaml").write_text(f"# {task}, tiny\ntask: {task}\n{text}{TRAINING}", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def runs(place) -> Path:
    """The folder of the trained runs, by task name."""
    for task in YAML:
        assert main(["train", str(place / f"{task}.yaml"), "--out", str(place / "runs" / task)]) == 0
    return place / "runs"


@pytest.fixture
def typed(monkeypatch):
    """Puts bytes on standard input."""

    def put(data: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    return put
