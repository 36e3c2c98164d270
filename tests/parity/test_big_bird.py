"""BigBird in and out, at lengths where its blocks matter: each side of padding, evaluation and training."""

import json

import pytest
import torch
import transformers as hf

import jorip
from jorip.core.errors import CheckpointError
from tests.parity import compare
from tests.parity.compare import exact, refuses, save, shake

VOCAB = 53
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 15,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 11,
    "max_position_embeddings": 90,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "block_size": 3,
    "num_random_blocks": 1,
}
BLOCKS = [  # what is sparse begins at (5 + 2 random) block + 1 columns
    ({"block_size": 3, "num_random_blocks": 1, "num_hidden_layers": 3}, (22, 5, 13)),
    ({"block_size": 3, "num_random_blocks": 1}, (24, 24)),
    ({"block_size": 3, "num_random_blocks": 1, "attention_type": "block_sparse"}, (21, 2)),
    ({"block_size": 4, "num_random_blocks": 2}, (49, 1, 30)),
    ({"block_size": 5, "num_random_blocks": 3, "num_attention_heads": 5, "num_hidden_layers": 4}, (73, 20)),
    ({"block_size": 1, "num_random_blocks": 2}, (31, 7, 19)),
    ({"attention_type": "original_full"}, (30, 4, 17)),
]


def inputs_of(side: str, lengths) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict]:
    """tokens, mask, segments, and all of it as transformers wants it."""
    tokens, mask = compare.batch(VOCAB, side, lengths=lengths)
    segments = torch.randint(2, tokens.shape, generator=torch.Generator().manual_seed(8))
    theirs = {"input_ids": tokens, "attention_mask": mask.long(), "token_type_ids": segments}
    return tokens, mask, segments, theirs | {"position_ids": (mask.long().cumsum(-1) - 1).clamp(min=0)}


BOTH = ("right", "left")


def agree(kind, tmp_path, more, lengths, sides=BOTH, want_of=compare.result, got_of=compare.out, extra=None):
    """Outputs and gradients in evaluation and training, float64; then float32."""
    theirs = shake(kind(hf.BigBirdConfig(**SIZES | more))).double()
    folder = save(theirs, tmp_path / "theirs")
    ours = jorip.load(folder)
    for side in sides:
        tokens, mask, segments, inputs = inputs_of(side, lengths)
        for training in (False, True):
            theirs.train(training).zero_grad()
            ours.train(training).zero_grad()
            with exact():
                want = want_of(theirs(**inputs, **(extra or {})))
            got = got_of(ours(tokens, mask=mask, segments=segments))
            shown = mask if want.shape[:2] == mask.shape else slice(None)
            torch.testing.assert_close(got[shown], want[shown], rtol=1e-10, atol=1e-10)
            w = torch.randn(want.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
            (want * w)[shown].sum().backward()
            (got * w)[shown].sum().backward()
            for a, b in gradients(theirs, ours):
                torch.testing.assert_close(b, a, rtol=1e-8, atol=1e-8)
    plain = kind.from_pretrained(folder, dtype=torch.float32).eval()
    plain.save_pretrained(tmp_path / "single")
    tokens, mask, segments, inputs = inputs_of("right", lengths)
    shown = mask if want.shape[:2] == mask.shape else slice(None)
    with torch.no_grad():
        want = want_of(plain(**inputs, **(extra or {})))[shown]
        got = got_of(jorip.load(tmp_path / "single")(tokens, mask=mask, segments=segments))[shown]
    scale = float(want.abs().max())
    torch.testing.assert_close(got / scale, want / scale, rtol=1e-5, atol=1e-5)
    return theirs.eval(), ours.eval()


def gradients(theirs, ours):
    """Of the embedding, and of the first layer's queries and keys."""
    bert, layer = getattr(theirs, "bert", theirs), ours.layers[0].mixer
    own = bert.encoder.layer[0].attention.self
    yield bert.embeddings.word_embeddings.weight.grad, ours.embedding.tokens.weight.grad
    yield own.query.weight.grad, layer.q.weight.grad
    yield own.key.weight.grad, layer.k.weight.grad


@pytest.mark.parametrize("more, lengths", BLOCKS)
def test_hidden_rows(more, lengths, tmp_path):
    theirs, ours = agree(hf.BigBirdModel, tmp_path, more, lengths, got_of=lambda o: o.hidden)
    compare.back(theirs, ours, tmp_path)


VARIANTS = [{"use_bias": False}, {"rescale_embeddings": True, "hidden_act": "relu"}, {"layer_norm_eps": 1e-3}]


@pytest.mark.parametrize("more", [*VARIANTS, {"tie_word_embeddings": False}, {"type_vocab_size": 3}])
def test_pre_training(more, tmp_path):
    kind = hf.BigBirdForPreTraining
    theirs, ours = agree(kind, tmp_path, more, (25, 9), want_of=lambda o: o.prediction_logits)
    tokens, mask, segments, inputs = inputs_of("right", (25, 9))
    with exact(), torch.no_grad():
        want = theirs(**inputs).seq_relationship_logits
    got = ours(tokens, mask=mask, segments=segments).readouts["next_sentence"]
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    if more.get("tie_word_embeddings", True):
        compare.back(theirs, ours, tmp_path)
    else:
        opens(theirs, ours, tmp_path, "cls.predictions.bias")


def test_the_pooled_row(tmp_path):
    theirs, ours = agree(
        hf.BigBirdModel, tmp_path, {}, (25, 9, 22), ("right",), lambda o: o.pooler_output, lambda o: o.pooled
    )
    compare.back(theirs, ours, tmp_path)


def test_question_answering(tmp_path):
    extra = {"question_lengths": torch.zeros(2, 1, dtype=torch.int64)}  # or it would hide the question's scores
    theirs, ours = agree(
        hf.BigBirdForQuestionAnswering, tmp_path, {"hidden_act": "gelu"}, (25, 9), ("right", "left"),
        lambda o: torch.stack([o.start_logits, o.end_logits], -1), extra=extra,
    )  # fmt: skip
    compare.back(theirs, ours, tmp_path)


@pytest.mark.parametrize("more", [{}, {"attention_type": "original_full", "tie_word_embeddings": False}])
def test_masked_language_model(more, tmp_path):
    theirs, ours = agree(hf.BigBirdForMaskedLM, tmp_path, more, (25, 9))
    opens(theirs, ours, tmp_path, "bert.pooler.", "cls.predictions.bias" if more else "bert.pooler.")


def test_token_classification(tmp_path):
    more = {"num_labels": 5, "classifier_dropout": 0.0}
    theirs, ours = agree(hf.BigBirdForTokenClassification, tmp_path, more, (25, 9))
    opens(theirs, ours, tmp_path, "bert.pooler.")


@pytest.mark.parametrize("more", [{"num_labels": 4}, {"hidden_act": "relu"}, {"num_labels": 1}])
def test_sequence_classification(more, tmp_path):
    theirs, ours = agree(hf.BigBirdForSequenceClassification, tmp_path, more, (25, 25, 9), ("right",))
    opens(theirs, ours, tmp_path, "bert.pooler.")


def opens(theirs, ours, tmp_path, *unused: str) -> None:
    """What we write opens with nothing missing and nothing left over, is the same but for weights that are not used,
    computes the same, and reloads."""
    folder = jorip.save(ours, tmp_path / "back", format="hf")
    again, info = type(theirs).from_pretrained(folder, output_loading_info=True, dtype=torch.float64)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    want = theirs.state_dict()
    assert set(again.state_dict()) == set(want)
    for name, t in again.state_dict().items():
        assert torch.equal(t, want[name]) or name.startswith(unused), name
    *_, inputs = inputs_of("right", (25, 9))
    with torch.no_grad():
        a, b = (m.eval()(**inputs)[0] for m in (again, theirs))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    reloaded = jorip.load(folder)
    assert reloaded.spec == ours.spec
    for a, b in zip(ours.state_dict().values(), reloaded.state_dict().values()):
        assert torch.equal(a, b)


def test_at_the_length_of_another_plan(tmp_path):
    """1024 rows in blocks of 64."""
    more = {"max_position_embeddings": 1050, "block_size": 64, "num_random_blocks": 2}
    more |= {"hidden_size": 6, "num_attention_heads": 2}
    agree(hf.BigBirdModel, tmp_path, more, (1024,), ("right",), got_of=lambda o: o.hidden)


def test_padding_that_fills_blocks(tmp_path):
    """A short text beside a long one: whole blocks of padding, among them the global last one, or the first."""
    agree(hf.BigBirdModel, tmp_path, {}, (60, 2, 1), got_of=lambda o: o.hidden)


def test_the_padded_length_is_the_callers(tmp_path):
    """Two more columns of padding make another block, and another result, as there; packed texts are cut alone."""
    theirs = shake(hf.BigBirdModel(hf.BigBirdConfig(**SIZES))).double().eval()
    ours = jorip.load(save(theirs, tmp_path / "theirs"))
    tokens, _, segments, inputs = inputs_of("right", (26, 24))
    found = []
    for more in (0, 2):
        wide = {n: torch.nn.functional.pad(t, (0, more)) for n, t in inputs.items()}
        with exact(), torch.no_grad():
            want = theirs(**wide).last_hidden_state
        seen = wide["attention_mask"].bool()
        found.append(ours(wide["input_ids"], mask=seen, segments=wide["token_type_ids"]).hidden[seen])
        torch.testing.assert_close(found[-1], want[seen], rtol=1e-10, atol=1e-10)
    assert (found[0] - found[1]).abs().max() > 1e-3
    packed = jorip.Packed.cat([tokens[0, :26], tokens[1, :24], tokens[0, :7]])
    kinds = torch.cat([segments[0, :26], segments[1, :24], segments[0, :7]])
    rows = ours(packed, segments=packed._replace(values=kinds)).hidden.split([26, 24, 7])
    for h, row, n in zip(rows, (0, 1, 0), (26, 24, 7)):
        alone = ours(tokens[row : row + 1, :n], segments=segments[row : row + 1, :n]).hidden[0]
        torch.testing.assert_close(h, alone, rtol=1e-10, atol=1e-10)


def test_paper_models_are_not_theirs(tmp_path):
    sizes = {"vocab_size": 20, "d_model": 16, "n_layers": 1, "n_heads": 2, "max_len": 64}
    spec = jorip.recipe("bigbird-roberta-base", **sizes)
    with pytest.raises(CheckpointError, match=r"layer\.mixer\.mechanism\.plan: huggingface there, paper here"):
        jorip.save(spec.build(seed=0), tmp_path / "x", format="hf")
    theirs = spec.override({"layer.mixer.mechanism.plan": "huggingface"})
    assert jorip.load(jorip.save(theirs.build(seed=0), tmp_path / "x", format="hf")).spec == theirs


def test_sizes():
    base, large = (jorip.recipe(f"bigbird-roberta-{size}").build(device="meta") for size in ("base", "large"))
    for ours, more in ((base, {}), (large, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16})):
        with torch.device("meta"):
            theirs = hf.BigBirdForPreTraining(hf.BigBirdConfig(**more, intermediate_size=4 * ours.spec.d_model))
        assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize(
    "more, words",
    [
        ({"attention_type": "etc"}, ("attention_type: 'etc' is not one of 'block_sparse', 'original_full'",)),
        ({"block_size": 0}, ("greater than 0",)),
        ({"is_decoder": True}, ("is_decoder: True is not supported",)),
        ({"num_random_blocks": 10**9}, ("less than or equal to 1024",)),
        ({"position_embedding_type": "relative_key"}, ("position_embedding_type",)),
    ],
)
def test_refused_configs(more, words, tmp_path):
    folder = save(hf.BigBirdModel(hf.BigBirdConfig(**SIZES)), tmp_path / "theirs")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | more), encoding="utf-8")
    refuses(folder, *words)
