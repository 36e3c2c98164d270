"""Each task end to end on a few rows: read, train, keep, open again, predict, score."""

import json

import pytest
import torch

from jorip.core.errors import CheckpointError, ConfigError, DataError
from jorip.tasks.config import run_config
from jorip.tasks.run import open_run, prepare
from jorip.training.start import train

SMALL = {"encoder-small": {"d_model": 16, "n_layers": 1, "n_heads": 2}}
TRAINING = {"steps": 3, "schedule": {"kind": "constant"}, "evaluate_every": 3, "threads": 1}
ROWS = {
    "translate": ("\n".join(f"{w} {w}\t{w.upper()}" for w in ["ab", "cd", "ef", "gh", "ij", "kl", "mn", "op"]), ".tsv"),
    "language_model": ("to be or not to be\nthat is the question\n" * 20, ".txt"),
    "classify": (
        "\n".join(f"{w} film\t{label}" for w, label in zip(["good", "bad", "fine", "poor"] * 4, "pnpn" * 4)),
        ".tsv",
    ),
    "tag": (
        "\n".join(json.dumps({"words": ["a", w], "tags": ["D", "N"]}) for w in ["cat", "dog", "cow", "hen"]),
        ".jsonl",
    ),
}
COLUMNS = {
    "translate": {"source": 0, "target": 1},
    "classify": {"text": 0, "label": 1},
    "tag": {},
    "language_model": {},
}
MODELS = {
    "translate": {"recipe": "transformer-tiny", "override": {"encoder.d_model": 16}},
    "language_model": {"recipe": "decoder-small", "override": SMALL["encoder-small"]},
    "classify": {"override": SMALL["encoder-small"]},
    "tag": {"override": SMALL["encoder-small"]},
}


def config_for(name, tmp_path, **changes):
    text, ending = ROWS[name]
    file = tmp_path / f"{name}{ending}"
    file.write_text(changes.pop("text", text), encoding="utf-8")
    source = {"path": file.name, "columns": COLUMNS[name]}
    override = MODELS[name].get("override", {})
    if name == "translate":
        override = {"encoder.d_model": 16, "decoder.d_model": 16}
    tree = {
        "task": name,
        "data": {"train": source, "val": source, "test": source, "tokens": 200, "window": 16},
        "tokenizer": {"kind": "character"},
        "model": MODELS[name] | {"override": {}} if name == "translate" else MODELS[name] | {"override": override},
        "training": TRAINING,
        "evaluation": {"generate": 4, "max_new_tokens": 5} if name == "translate" else {"max_new_tokens": 5},
        "base": str(tmp_path),
    }
    for key, value in changes.items():
        section, _, field = key.partition("__")
        tree[section] = {**tree[section], field: value} if field else value
    return run_config(tree, "test")


@pytest.mark.parametrize("name", ROWS)
def test_a_task_trains_and_opens_again(name, tmp_path):
    config = config_for(name, tmp_path)
    task = prepare(config)
    before = {n: p.detach().clone() for n, p in task.model.named_parameters()}
    result = train(task, config.training, tmp_path / "run")
    assert result.step == 3 and all(torch.isfinite(torch.tensor(list(result.metrics.values()))))
    assert any(not torch.equal(before[n], p) for n, p in task.model.named_parameters())
    opened = open_run(tmp_path / "run")
    for (n, p), (m, q) in zip(task.model.named_parameters(), opened.task.model.named_parameters()):
        assert n == m and torch.equal(p, q)
    scores = opened.evaluate("test")
    assert scores["loss"] > 0
    wanted = opened.task.encode(opened.task.val.rows or opened.task.read(config.data.val, config), "val")
    assert scores["loss"] == pytest.approx(opened.task.scores(opened.task.model, wanted)["loss"])
    row = {"translate": "ab ab", "language_model": "to be", "classify": "good film", "tag": "a cat"}[name]
    (said,) = opened.predict([row])
    assert "prediction" in said
    if name == "tag":
        assert len(said["prediction"]) == 2 and set(said["prediction"]) <= {"D", "N"}
    if name == "classify":
        assert sum(said["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ConfigError, match="this run has no split 'tset'; did you mean 'test'"):
        opened.evaluate("tset")


def test_streaming_says_what_generation_says(tmp_path):
    config = config_for("language_model", tmp_path)
    task = prepare(config)
    train(task, config.training, tmp_path / "run")
    opened = open_run(tmp_path / "run")
    assert "".join(opened.stream("to be")) == opened.generate(["to be"])[0]


def test_same_seed_same_model_and_fingerprint(tmp_path):
    a, b = (prepare(config_for("classify", tmp_path)) for _ in range(2))
    assert a.fingerprint == b.fingerprint
    assert all(torch.equal(p, q) for p, q in zip(a.model.parameters(), b.model.parameters()))
    c = prepare(config_for("classify", tmp_path, training={**TRAINING, "seed": 1}))
    assert any(not torch.equal(p, q) for p, q in zip(a.model.parameters(), c.model.parameters()))


def test_bad_labels_and_metrics(tmp_path):
    with pytest.raises(DataError, match="only one label"):
        prepare(config_for("classify", tmp_path, text="good\tp\nbad\tp\n"))
    with pytest.raises(ConfigError, match=r"evaluation.metric: classify has no 'acuracy'; did you mean 'accuracy'"):
        prepare(config_for("classify", tmp_path, evaluation={"metric": "acuracy"}))
    config = config_for("classify", tmp_path)
    other = tmp_path / "other.tsv"
    other.write_text("good\tp\nodd\tq\n", encoding="utf-8")
    data = config.data.model_copy(update={"val": config.data.val.model_copy(update={"path": "other.tsv"})})
    with pytest.raises(DataError, match="never seen in training: 'q'"):
        prepare(config.model_copy(update={"data": data}))


def test_pairs_have_segments_and_are_cut_fairly(tmp_path):
    text = "aaaaaaaa\tbb\tp\nab\tbaba\tn\n" * 4
    columns = {"text": 0, "text2": 1, "label": 2}
    config = config_for("classify", tmp_path, text=text)
    source = config.data.train.model_copy(update={"columns": columns})
    data = config.data.model_copy(update={"train": source, "val": source, "pair": True, "max_len": 10})
    model = config.model.model_copy(update={"override": SMALL["encoder-small"] | {"embedding.segments": 2}})
    task = prepare(config.model_copy(update={"data": data, "model": model}))
    batch = task.batch([0, 1], 0)
    t = task.tokenizer
    assert batch["inputs"].lengths.tolist() == [10, 9]
    first = batch["inputs"].split()[0].tolist()
    assert first[0] == t.cls and first.count(t.sep) == 2 and t.decode(first) == "aaaaabb"
    assert batch["segments"].split()[0].tolist() == [0] * 7 + [1] * 3
    assert task.train.truncated == 4
    loss, count, _ = task.loss(task.model, batch, None, 0.0)
    assert count == 2 and torch.isfinite(loss)


def test_words_beyond_max_len_count_as_wrong(tmp_path):
    task = prepare(config_for("tag", tmp_path, data__max_len=2))
    scores = task.validate(task.model)
    assert task.train.truncated == 4 and scores["accuracy"] <= 0.5
    assert task.predict([{"words": ["a", "cat"]}])[0]["prediction"][1] is None


def test_what_is_not_a_run(tmp_path):
    with pytest.raises(CheckpointError):
        open_run(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "recipe", "said"),
    [
        ("translate", "encoder-small", "translate needs an encoder_decoder, found encoder: take transformer-small"),
        ("classify", "transformer-tiny", "classify needs an encoder, found encoder_decoder: take encoder-small"),
        ("tag", "transformer-tiny", "tag needs an encoder, found encoder_decoder"),
        ("language_model", "encoder-small", "language_model needs a decoder, found encoder: take decoder-small"),
    ],
)
def test_a_model_that_does_not_fit_the_task_is_refused(name, recipe, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        prepare(config_for(name, tmp_path, model={"recipe": recipe}))


def test_scores_of_texts_count_capitals_whatever_the_tokenizer(tmp_path):
    config = config_for("translate", tmp_path, tokenizer={"kind": "character", "lowercase": True})
    task = prepare(config)
    row = [{"target": "Ein Hund", "row": 1}]
    assert task.text_scores(["ein hund"], row)["exact_match"] == 0
    assert task.text_scores(["Ein Hund"], row)["exact_match"] == 1
