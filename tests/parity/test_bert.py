"""BERT in and out."""

import json
from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

import jorip
from tests.parity.compare import batch, exact, refuses, same, save, shake
from tests.parity.encoders import check_encoder

SIZES = {
    "vocab_size": 47, "hidden_size": 21, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 17,
    "max_position_embeddings": 13, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip


def config(**more) -> hf.BertConfig:
    return hf.BertConfig(**SIZES | more)


@pytest.mark.parametrize("head", [hf.BertForMaskedLM, hf.BertForPreTraining])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3, "tie_word_embeddings": False},
        {"hidden_act": "relu", "type_vocab_size": 3},
        {"hidden_act": "silu", "type_vocab_size": 1, "num_attention_heads": 1},
    ],
)
def test_pre_training(head, more, tmp_path):
    check_encoder(head(config(**more)), tmp_path, 47, segments=more.get("type_vocab_size", 2))


@pytest.mark.parametrize("n_labels", [1, 3, 5])
@pytest.mark.parametrize("head", [hf.BertForSequenceClassification, hf.BertForTokenClassification])
def test_classification(head, n_labels, tmp_path):
    ours = check_encoder(head(config(num_labels=n_labels, classifier_dropout=0.0)), tmp_path, 47, segments=2)
    assert ours.spec.readout.n_classes == n_labels


@pytest.mark.parametrize("head", [hf.BertModel, hf.BertForNextSentencePrediction, hf.BertForQuestionAnswering])
def test_other_heads(head, tmp_path):
    check_encoder(head(config(layer_norm_eps=1e-5)), tmp_path, 47)


def rewritten(folder: Path, fields=None, tensors=None) -> Path:
    """The folder with config fields and the mapping of tensors changed."""
    path = folder / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(values | (fields or {})), encoding="utf-8")
    if tensors is not None:
        save_file(tensors(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    return folder


def saved(kind, folder: Path, **more) -> Path:
    return save(shake(kind(config(**more))), folder)


TEXT = torch.tensor([[5, 9, 4, 30]])


def as_on_the_hub(tensors):
    """How bert-base-uncased is stored: older names, buffers, copies of the tied matrix."""
    old = {n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t.clone()
           for n, t in tensors.items()}  # fmt: skip
    old["bert.embeddings.position_ids"] = torch.arange(13)[None]
    old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"].clone()
    old["cls.predictions.decoder.bias"] = old["cls.predictions.bias"].clone()
    return old


def test_a_file_as_on_the_hub(tmp_path):
    """Of BertForPreTraining, with a config that says BertForMaskedLM, or less; what is left over is reported."""
    folder = saved(hf.BertForPreTraining, tmp_path / "a")
    whole = jorip.load(folder)
    rewritten(folder, {"architectures": ["BertForMaskedLM"], "gradient_checkpointing": False}, as_on_the_hub)
    ours = jorip.load(folder)
    assert ours.spec.readout.kind == "masked_language_model"
    assert torch.equal(ours(TEXT).logits, whole(TEXT).logits)
    for line in ("a head that this model has not", "the pooler, which this head does not use", "a buffer: the numbers"):
        assert line in ours.origin.report, ours.origin.report
    for head, out in (
        ("BertModel", lambda o: o.pooled), ("BertForNextSentencePrediction", lambda o: o.logits)
    ):  # fmt: skip
        got = out(jorip.load(rewritten(folder, {"architectures": [head]}))(TEXT))
        want = whole(TEXT)
        assert torch.equal(got, want.pooled if head == "BertModel" else want.readouts["next_sentence"])
    bare = jorip.load(rewritten(folder, {"architectures": None}))  # no class named: what most files are used for
    assert bare.spec == ours.spec


@pytest.mark.parametrize("old", [{"position_embedding_type": "absolute", "pruned_heads": {}, "pooler_type": "x"}])
def test_fields_of_old_configs(old, tmp_path):
    jorip.load(rewritten(saved(hf.BertModel, tmp_path / "a"), old))


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"is_decoder": True}, ("is_decoder: True is not supported, False is",)),
        ({"add_cross_attention": True}, ("add_cross_attention: True is not supported",)),
        ({"position_embedding_type": "relative_key"}, ("'relative_key' is not supported, 'absolute' is",)),
        ({"hidden_act": "mish"}, ("hidden_act: 'mish' is not one of", "'gelu_new'")),
        ({"architectures": ["BertForMaskedLm"]}, ("no head 'BertForMaskedLm'; did you mean 'BertForMaskedLM'",)),
        ({"hidden_sise": 3}, ("'hidden_sise': 3; did you mean 'hidden_size'?",)),
        ({"max_position_embeddings": 12}, ("'position.weight' has shape (13, 21), the model has (12, 21)",)),
        ({"type_vocab_size": 3}, ("'embedding.segments.weight' has shape (2, 21), the model has (3, 21)",)),
        ({"architectures": ["BertForQuestionAnswering"], "id2label": {"0": "a", "1": "b", "2": "c"}},
         ("an answer has 2 labels, its start and its end; found 3",)),
        ({"architectures": ["BertForSequenceClassification"], "classifier_dropout": 2.0}, ("less than 1",)),
    ],
)  # fmt: skip
def test_what_is_refused(fields, words, tmp_path):
    refuses(rewritten(saved(hf.BertForMaskedLM, tmp_path / "a"), fields), *words)


def test_untied_without_saying_so(tmp_path):
    folder = saved(hf.BertForMaskedLM, tmp_path / "a", tie_word_embeddings=False)
    refuses(rewritten(folder, {"tie_word_embeddings": True}), "cls.predictions.decoder", "does not tie them")


def test_recipes_have_the_published_sizes():
    """Counted by hand from the papers' sizes, with the heads of pre-training."""
    from jorip.core.cost import Shape

    for name, millions in (
        ("bert-base", 110.1), ("bert-large", 336.2), ("roberta-base", 124.7), ("roberta-large", 355.4),
        ("xlm-roberta-base", 278.3),
    ):  # fmt: skip
        assert round(jorip.recipe(name).cost(Shape(1, 1)).total_parameters / 1e6, 1) == millions


def test_without_a_pooler(tmp_path):
    """transformers' add_pooling_layer=False leaves no trace but the missing weights."""
    theirs = shake(hf.BertModel(hf.BertConfig(**SIZES), add_pooling_layer=False)).double().eval()
    ours = jorip.load(save(theirs, tmp_path / "theirs"))
    tokens, mask = batch(SIZES["vocab_size"], "right")
    with exact(), torch.no_grad():
        want = theirs(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    assert ours.spec.readout is None
    same(ours(tokens, mask=mask).hidden, want, mask, 1e-10)
