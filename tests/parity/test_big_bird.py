"""BigBird in and out, at lengths where its blocks matter: each side of padding, evaluation and training."""

import pytest
import torch
import transformers as hf

import jorip
from tests.parity import compare
from tests.parity.compare import exact, save, shake

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
        compare.back(theirs, ours, tmp_path)


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
    compare.back(theirs, ours, tmp_path)


def test_token_classification(tmp_path):
    more = {"num_labels": 5, "classifier_dropout": 0.0}
    theirs, ours = agree(hf.BigBirdForTokenClassification, tmp_path, more, (25, 9))
    compare.back(theirs, ours, tmp_path)


@pytest.mark.parametrize("more", [{"num_labels": 4}, {"hidden_act": "relu"}, {"num_labels": 1}])
def test_sequence_classification(more, tmp_path):
    theirs, ours = agree(hf.BigBirdForSequenceClassification, tmp_path, more, (25, 25, 9), ("right",))
    compare.back(theirs, ours, tmp_path)
