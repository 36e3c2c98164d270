"""The pre-training tasks end to end on a few rows: noise, training, resume, splitting, predictions, what is kept."""

import json

import numpy as np
import pytest
import torch

import jorip
from jorip.core.errors import ConfigError, DataError, Interrupted
from jorip.objectives import IGNORE, restore
from jorip.tasks.config import NOISY, run_config
from jorip.tasks.run import open_run, prepare
from jorip.training import failpoints, read_events
from jorip.training.start import train
from tests.training.toy import weights_hash, without_wall

TEXT = (
    "the cat sat on the mat. a dog ran to the cat!\nto be or not to be? that is the question.\nagain: to be, or not\n"
)
SIZES = {"d_model": 16, "n_layers": 2, "n_heads": 2, "**.dropout": 0.1}
PAIR = {f"{side}.{name}": value for side in ("encoder", "decoder") for name, value in SIZES.items()}
TRAINING = {"steps": 4, "schedule": {"kind": "constant"}, "evaluate_every": 4, "threads": 1, "log_every": 1}
ENCODERS, PAIRS = NOISY[:2], NOISY[2:]


def config_for(name, tmp_path, text=TEXT * 4, **changes):
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    pair = name in PAIRS
    tree = {
        "task": name,
        "data": {"train": "text.txt", "val": "text.txt", "test": "text.txt", "tokens": 200, "window": 16},
        "tokenizer": {"kind": "bpe", "vocab_size": 290},
        "model": {"recipe": "transformer-tiny" if pair else "encoder-small", "override": PAIR if pair else SIZES},
        "training": TRAINING,
        "evaluation": {"max_new_tokens": 5, "samples": 3},
        "base": str(tmp_path),
    }
    for key, value in changes.items():
        section, _, field = key.partition("__")
        tree[section] = {**tree.get(section, {}), field: value} if field else value
    return run_config(tree, "test")


def ids_of(batch) -> dict[str, list[list[int]]]:
    return {name: [s.tolist() for s in packed.split()] for name, packed in batch.items()}


@pytest.mark.parametrize("name", NOISY)
def test_a_task_trains_and_opens_again(name, tmp_path):
    config = config_for(name, tmp_path)
    task = prepare(config)
    result = train(task, config.training, tmp_path / "run")
    assert all(np.isfinite(v) for v in result.metrics.values())
    assert set(task.metrics) <= set(result.metrics)
    (shown,) = [e["samples"] for e in read_events(tmp_path / "run") if e["kind"] == "samples"]
    assert len(shown) == 3 and all(set(s) == {"source", "target", "prediction"} for s in shown)
    assert all("<mask>" in s["source"] or "<1>" in s["source"] or name == "denoise" for s in shown)
    opened = open_run(tmp_path / "run")
    scores = opened.evaluate("test")
    assert scores.pop("examples") == len(task.val)
    assert scores == pytest.approx(result.metrics, rel=1e-5)
    (said,) = opened.predict(["the <mask> sat on the <mask>"])
    assert said["text"] == "the <mask> sat on the <mask>" and "<mask>" not in said["prediction"]


@pytest.mark.parametrize("name", NOISY)
def test_an_interrupted_run_ends_as_one_that_was_not(name, tmp_path):
    """Dropout, noise and order are functions of seed, epoch and example; the fourth step is in the second epoch."""
    config = config_for(name, tmp_path, training__steps=7)
    whole = prepare(config)
    train(whole, config.training, tmp_path / "whole")
    failpoints.arm("step.end:3:term")
    with pytest.raises(Interrupted):
        train(prepare(config), config.training, tmp_path / "part")
    again = prepare(config)
    train(again, config.training, tmp_path / "part")
    assert weights_hash(again.model) == weights_hash(whole.model)
    a, b = (without_wall(read_events(tmp_path / run)) for run in ("whole", "part"))
    assert a == b and max(e.get("epoch", 0) for e in a) > 1


@pytest.mark.parametrize("name", NOISY)
def test_a_batch_is_the_same_however_it_is_cut(name, tmp_path):
    config = config_for(name, tmp_path, training__steps=3)
    task = prepare(config)
    ids = task.plan(1)[0]
    parts = [ids_of(task.batch([i], 1)) for i in ids]
    assert ids_of(task.batch(ids, 1)) == {k: [p[k][0] for p in parts] for k in parts[0]}
    hashes = []
    for limit in (None, 40):
        config = config_for(name, tmp_path, training={**TRAINING, "micro_tokens": limit, "precision": "fp32"})
        task = prepare(config)
        task.model.double()
        train(task, config.training, tmp_path / str(limit))
        hashes.append([p.detach().clone() for p in task.model.parameters()])
        losses = [e for e in read_events(tmp_path / str(limit)) if e["kind"] == "train"]
        hashes[-1].append(
            torch.tensor([e["loss"] for e in losses] + [e.get("aux", {}).get("generator_loss", 0) for e in losses])
        )
    for a, b in zip(*hashes):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NOISY)
def test_noise_changes_with_the_epoch_unless_it_is_static(name, tmp_path):
    task = prepare(config_for(name, tmp_path))
    ids = task.plan(0)[0]
    assert ids_of(task.batch(ids, 0)) == ids_of(task.batch(ids, 0)) != ids_of(task.batch(ids, 1))
    assert ids_of(task.val.take(ids)) == ids_of(task.val.take(ids))
    other = prepare(config_for(name, tmp_path, training__seed=1))
    assert ids_of(task.val.take(ids)) == ids_of(other.val.take(ids))  # runs of other seeds are judged alike
    assert ids_of(task.batch(ids, 0)) != ids_of(other.batch(ids, 0))
    static = prepare(config_for(name, tmp_path, objective={"variants": 1}))
    assert ids_of(static.batch(ids, 0)) == ids_of(static.batch(ids, 1))


@pytest.mark.parametrize("name", NOISY)
def test_sizes_counts_and_text(name, tmp_path):
    """Long texts become windows, and nothing is lost; empty lines are no examples."""
    task = prepare(config_for(name, tmp_path, text="a cat, a dog and a bird " * 9 + "\n\nto be\n\n", data__window=20))
    t = task.tokenizer
    batch = task.batch(list(range(len(task.train))), 0)
    if name in PAIRS:
        v = task.vocabulary
        pairs = zip(batch["source"].split(), batch["target"].split())
        if name == "denoise":
            texts = [b[1:-1].tolist() for _, b in pairs]
        else:
            texts = [restore(a[:-1], b[1:-1], v.sentinels).tolist() for a, b in pairs]
            total = batch["source"].lengths + batch["target"].lengths - 1
            assert total.tolist() == task.sizes.tolist()
        assert all(s[-1] == t.eos for s in batch["source"].split())
        assert all(s[0] == t.bos and s[-1] == t.eos for s in batch["target"].split())
        assert task.count(batch) == int((batch["target"].lengths - 1).sum())
    else:
        inputs, targets = batch["inputs"].values, batch["targets"].values
        assert batch["inputs"].lengths.tolist() == task.sizes.tolist() and max(task.sizes) == 20
        whole = torch.where(targets == IGNORE, inputs, targets).split(task.sizes.tolist())
        assert all(s[0] == t.cls and s[-1] == t.sep for s in whole)
        texts = [s[1:-1].tolist() for s in whole]
        assert task.count(batch) == (len(inputs) if name == "replaced_tokens" else int((targets != IGNORE).sum()))
    assert t.decode([i for text in texts[:-1] for i in text]) == "a cat, a dog and a bird " * 9
    assert t.decode(texts[-1]) == "to be"


def test_the_loss_of_replaced_tokens_is_the_papers(tmp_path):
    """50 times a mean over all tokens, and a mean over the hidden ones, from the model's own pieces."""
    task = prepare(config_for("replaced_tokens", tmp_path, data__tokens=10**6))
    model = task.model.eval()
    batch = task.batch(list(range(len(task.train))), 0)
    with torch.no_grad():
        terms, n, extra = task.loss(model, batch, None, 0.0)
    out = model(batch["inputs"], targets=batch["targets"].values)
    tokens, labels = out.readouts["tokens"], out.readouts["replaced"]
    asked = batch["targets"].values != IGNORE
    assert (tokens[~asked] == batch["inputs"].values[~asked]).all() and not labels[~asked].any()
    assert (labels[asked].bool() == (tokens[asked] != batch["targets"].values[asked])).all()
    again = model.pretrained()(jorip.Packed(tokens, batch["inputs"].lengths, batch["inputs"].uid)).logits
    by_hand = 50 * torch.nn.functional.cross_entropy(again, labels)
    assert float(terms) / n == pytest.approx(float(by_hand.detach()), rel=1e-5)
    mean = float(out.readouts["generator"].detach()) / int(asked.sum())
    assert float(extra["generator_loss"]) == pytest.approx(mean, rel=1e-5)
    scores = task.scores(model, task.val)
    assert scores["loss"] == pytest.approx(50 * scores["discriminator_loss"] + scores["generator_loss"])


def test_the_discriminator_is_what_is_kept(tmp_path):
    config = config_for("replaced_tokens", tmp_path)
    task = prepare(config)
    model = task.model
    assert model.generator.embedding.tokens.weight is model.discriminator.embedding.tokens.weight
    assert model.generator.readout.out.weight is model.discriminator.embedding.tokens.weight
    assert (model.spec.generator.n_layers, model.spec.discriminator.n_layers) == (1, 2)
    train(task, config.training, tmp_path / "run")
    kept = jorip.load(tmp_path / "run").pretrained()
    assert kept.spec == task.model.spec.discriminator
    own = task.model.discriminator.state_dict()
    assert own.keys() == kept.state_dict().keys()
    assert all(torch.equal(p, own[n]) for n, p in kept.state_dict().items())
    events = [e for e in read_events(tmp_path / "run") if e["kind"] == "train"]
    assert all(e["aux"]["generator_loss"] > 0 for e in events)  # logged by name
    words = open_run(tmp_path / "run").predict(["the cat"])[0]
    assert "".join(words["words"]) == "the cat" and len(words["prediction"]) == len(words["probabilities"])


def test_a_generator_of_another_size(tmp_path):
    override = {"generator.n_layers": 3, **{f"{s}.{k}": v for s in ("generator", "discriminator") for k, v in SIZES.items() if k != "n_layers"}}  # fmt: skip  # noqa: E501
    model = {"recipe": "generator-discriminator-small", "override": override}
    spec = prepare(config_for("replaced_tokens", tmp_path, model=model)).model.spec
    assert (spec.generator.n_layers, spec.discriminator.n_layers) == (3, 4)
    model["override"]["generator.d_model"] = 32
    with pytest.raises(ConfigError, match=r"embeddings are shared, so d_model must be equal: found 32 \(generator\)"):
        prepare(config_for("replaced_tokens", tmp_path, model=model))


def test_fill_ins_are_put_where_the_blanks_are(tmp_path, monkeypatch):
    """With a model that knows the answer."""
    task = prepare(config_for("span_corruption", tmp_path))
    t, marks = task.tokenizer, task.vocabulary.sentinels
    answer = [marks[0], *t.encode(" dog"), marks[1], *t.encode(" sofa"), marks[2]]
    monkeypatch.setattr(task, "answers", lambda model, sources, **_: [answer for _ in sources])
    (said,) = task.predict([{"text": "the <mask> sat on the <mask>."}])
    assert said["prediction"] == "the dog sat on the sofa." and said["fills"] == [" dog", " sofa"]
    assert task.spell(answer) == "<1> dog<2> sofa<3>"
    assert marks == tuple(range(task.model.spec.decoder.vocab_size - 1, t.vocab_size - 1, -1)) and len(marks) == 100


def test_masked_fill_ins(tmp_path):
    task = prepare(config_for("masked_language_model", tmp_path))
    said = task.predict([{"text": "the<mask> sat"}, {"text": "<mask>"}])
    best = said[0]["fills"][0]
    assert len(best) == 5 and best == sorted(best, key=lambda b: -b["probability"])
    assert said[0]["prediction"] == "the" + best[0]["token"] + " sat"
    long = task.predict([{"text": "a cat " * 40 + "<mask>"}])[0]
    assert len(long["fills"]) == 1 and task.cut == 0  # nothing limits rotary positions
    short = prepare(config_for("masked_language_model", tmp_path, data__max_len=12))
    assert short.predict([{"text": "<mask> a cat" * 40}])[0]["fills"] and short.cut == 1


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "character", "unigram"])
def test_whole_words_are_hidden_together(kind, tmp_path):
    size = {"bpe": 290, "wordpiece": 70, "character": 40, "unigram": 420}[kind]
    changes = {"tokenizer": {"kind": kind, "vocab_size": size}, "objective": {"whole_words": True}, "data__window": 60}
    task = prepare(config_for("masked_language_model", tmp_path, **changes))
    t = task.tokenizer
    words = task.words(t.encode("the cat, sat"))
    pieces = t.pieces(t.encode("the cat, sat"))
    joined = {}
    for w, piece in zip(words.tolist(), pieces):
        joined[w] = joined.get(w, "") + piece.removeprefix("##")
    assert [w.strip() for w in joined.values()] == ["the", "cat", ",", "sat"]
    batch = task.batch(list(range(len(task.train))), 0)
    for inputs, targets in zip(batch["inputs"].split(), batch["targets"].split()):
        ids = torch.where(targets == IGNORE, inputs, targets)
        of = task.words(ids)
        hidden = (targets != IGNORE).numpy()
        assert all(len(set(hidden[(of == w) & (ids > 5).numpy()])) <= 1 for w in set(of)) and hidden.any()


def test_sentences_are_found_by_their_ends(tmp_path):
    only = {"noises": ["sentence_permutation"]}
    task = prepare(config_for("denoise", tmp_path, data__window=200, objective=only, text="it is. is it? yes! " * 5))
    (source,) = task.batch([0], 0)["source"].split()
    assert sorted(task.tokenizer.decode(source).split()) == sorted(("it is. is it? yes! " * 5).split())
    stops = {t for i in task.vocabulary.stops for t in task.tokenizer.pieces([i])}
    assert {".", "?", "!"} <= stops and all(s.strip()[-1] in ".?!" for s in stops)
    lines = prepare(config_for("denoise", tmp_path, objective={**only, "sentence_ends": "\n"}))
    assert lines.tokenizer.pieces(lines.vocabulary.stops) == ["\n"]


def test_going_on_from_a_run(tmp_path):
    """Pre-training again, with the sentinels that the run had; and a run without them is refused."""
    for name in PAIRS:
        config = config_for(name, tmp_path)
        train(prepare(config), config.training, tmp_path / name)
    more = config_for("span_corruption", tmp_path, model={"start_from": "span_corruption"})
    task = prepare(more)
    assert task.model.spec.decoder.vocab_size == task.tokenizer.vocab_size + 100 and task.transplant.fresh == []
    with pytest.raises(ConfigError, match=r"objective.sentinels: 100 ids after the tokenizer's \d+ are needed"):
        prepare(config_for("span_corruption", tmp_path, model={"start_from": "denoise"}))


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (
            "masked_language_model",
            {"model": {"recipe": "decoder-small"}},
            "masked_language_model needs an encoder",
        ),
        ("replaced_tokens", {"model": {"recipe": "transformer-tiny"}}, "needs an encoder or a generator_discriminator"),
        ("denoise", {"model": {"recipe": "encoder-small"}}, "denoise needs an encoder_decoder, found encoder"),
        ("span_corruption", {"model": {"recipe": "encoder-small"}}, "span_corruption needs an encoder_decoder"),
        ("span_corruption", {"objective": {"ratio": 1}}, "span_corruption has no field 'ratio'; did you mean 'rate'"),
        ("denoise", {"objective": {"noises": ["infilling"]}}, "there is no noise called 'infilling'"),
        ("masked_language_model", {"data__window": 2}, "data.window: 2 tokens leave no room for a text between"),
        ("denoise", {"evaluation__metric": "accuracy"}, "denoise has no 'accuracy'; did you mean 'token_accuracy'"),
    ],
)
def test_what_does_not_fit_is_refused(name, changes, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        prepare(config_for(name, tmp_path, **changes))


def test_an_objective_needs_a_task_that_has_one(tmp_path):
    config = config_for("denoise", tmp_path).model_dump(mode="json")
    with pytest.raises(ConfigError, match="objective: a classify run has none; masked_language_model, replaced_tokens"):
        run_config({**config, "task": "classify", "objective": {"rate": 0.2}}, "test")


def test_texts_without_blanks_and_with_too_many(tmp_path):
    task = prepare(config_for("masked_language_model", tmp_path))
    with pytest.raises(DataError, match="there is no <mask> in 'a cat': write one where something is missing"):
        task.predict([{"text": "a cat"}])
    task = prepare(config_for("span_corruption", tmp_path, objective={"sentinels": 6}))
    with pytest.raises(DataError, match="no <mask> in 'a cat': write 1 to 5, each where something is missing"):
        task.predict([{"text": "a cat"}])
    with pytest.raises(DataError, match="6 <mask> in"):
        task.predict([{"text": "<mask> a" * 6}])


def test_rows_without_text(tmp_path):
    config = config_for("denoise", tmp_path)
    task = prepare(config)
    with pytest.raises(DataError, match="val: there is no text in these rows"):
        task.encode([{"text": ""}], "val")


def test_saved_configurations_hold_the_objective(tmp_path):
    config = config_for("masked_language_model", tmp_path, objective={"rate": 0.4, "whole_words": True})
    task = prepare(config)
    task.artifacts(tmp_path)
    saved = json.loads((tmp_path / "task.json").read_text(encoding="utf-8"))
    assert saved["config"]["objective"] == {"rate": 0.4, "whole_words": True}
