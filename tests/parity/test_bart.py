"""BART in and out: tied and untied, sides of different sizes, every head, and the files that old versions wrote."""

import json

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

import jorip
from tests.parity.compare import back, exact, refuses, same, save, shake
from tests.parity.seq2seq import check_pairs, pair

SIZES = {
    "vocab_size": 53, "d_model": 18, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 3,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 11, "decoder_ffn_dim": 7, "max_position_embeddings": 23,
    "dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"scale_embedding": True, "activation_function": "gelu_new"},
        {"activation_function": "relu", "encoder_layers": 1, "decoder_layers": 1},
    ],
    ids=str,
)
def test_conditional_generation(more, tmp_path):
    check_pairs(hf.BartForConditionalGeneration(hf.BartConfig(**SIZES | more)), tmp_path, 53)


def test_without_a_head(tmp_path):
    check_pairs(hf.BartModel(hf.BartConfig(**SIZES)), tmp_path, 53, generates=False)


@pytest.mark.parametrize("kind", [hf.BartForConditionalGeneration, hf.BartModel])
def test_untied(kind, tmp_path):
    """Three tables and a readout; what is in the third is of no use and is written back."""
    theirs = kind(hf.BartConfig(**SIZES, tie_word_embeddings=False))
    ours = check_pairs(theirs, tmp_path, 53, generates=not isinstance(theirs, hf.BartModel))
    assert ours.encoder.embedding.tokens.weight is not ours.decoder.embedding.tokens.weight


def decides(kind, tmp_path, **more):
    """Their model and ours, and texts of several lengths that each end with eos."""
    theirs = shake(kind(hf.BartConfig(**SIZES, **more))).double().eval()
    ours = jorip.load(save(theirs, tmp_path / "theirs"))
    (source, _), _, masks = pair(53, "right")
    mask = masks["source_mask"]
    last = mask & ~torch.nn.functional.pad(mask[:, 1:], (0, 1))
    return theirs, ours, torch.where(last, 2, source), mask


@pytest.mark.parametrize("more", [{"num_labels": 4}, {"tie_word_embeddings": False, "classifier_dropout": 0.3}])
def test_sequence_classification(more, tmp_path):
    theirs, ours, source, mask = decides(hf.BartForSequenceClassification, tmp_path, **more)
    with exact(), torch.no_grad():
        want = theirs(input_ids=source, attention_mask=mask.long()).logits
    torch.testing.assert_close(ours(source, source_mask=mask).logits, want, rtol=1e-10, atol=1e-10)
    assert ours.spec.decoder.readout.dropout == more.get("classifier_dropout", 0.0)
    if "tie_word_embeddings" not in more:
        back(theirs, ours, tmp_path)


def test_question_answering(tmp_path):
    theirs, ours, source, mask = decides(hf.BartForQuestionAnswering, tmp_path, decoder_start_token_id=7)
    with exact(), torch.no_grad():
        o = theirs(input_ids=source, attention_mask=mask.long())
    want = torch.stack([o.start_logits, o.end_logits], -1)
    same(ours(source, source_mask=mask).logits, want, mask, 1e-10)
    assert ours.spec.start == 7
    back(theirs, ours, tmp_path)


def rewritten(folder, fields: dict, weights=lambda found: found):
    """The folder with other fields in its config, None takes one out, and with its weights changed."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | fields
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}), encoding="utf-8")
    save_file(weights(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
    return folder


HUB = {
    "add_bias_logits": False, "add_final_layer_norm": False, "classif_dropout": 0.1, "normalize_before": False,
    "normalize_embedding": True, "static_position_embeddings": False, "extra_pos_embeddings": 2,
    "force_bos_token_to_be_generated": True, "num_hidden_layers": 2, "_num_labels": 3, "output_past": True,
    "early_stopping": True, "num_beams": 4, "gradient_checkpointing": False, "task_specific_params": {"x": {"y": 1}},
    "tie_word_embeddings": None, "encoder_layerdrop": 0.1, "prefix": " ",
}  # fmt: skip


def test_files_of_the_hub(tmp_path):
    """Fields of old versions, every copy of the shared table written out."""
    theirs = shake(hf.BartForConditionalGeneration(hf.BartConfig(**SIZES))).double().eval()

    def copied(found):
        shared = found["model.shared.weight"]
        names = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
        return found | {n: shared.clone() for n in names} | {"model.encoder.version": torch.ones(1)}

    ours = jorip.load(rewritten(save(theirs, tmp_path / "old"), HUB, copied))
    pairs, inputs, masks = pair(53, "right")
    with exact(), torch.no_grad():
        want = theirs(**inputs).logits
    same(ours(*pairs, **masks).logits, want, masks["target_mask"], 1e-10)
    back(theirs, ours, tmp_path)


@pytest.mark.parametrize("tied", [True, False])
def test_files_without_a_bias(tied, tmp_path):
    theirs = shake(hf.BartForConditionalGeneration(hf.BartConfig(**SIZES, tie_word_embeddings=tied))).double()
    folder = save(theirs, tmp_path)
    rewritten(folder, {}, lambda found: {k: v for k, v in found.items() if k != "final_logits_bias"})
    bias = jorip.load(folder).decoder.readout.out.bias
    assert bias.shape == (53,) and bias.dtype == torch.float64 and not bias.any()


def test_untied_files_in_which_both_sides_read_one_table(tmp_path):
    theirs = shake(hf.BartForConditionalGeneration(hf.BartConfig(**SIZES, tie_word_embeddings=False))).double().eval()
    for side in (theirs.model.encoder, theirs.model.decoder):
        side.embed_tokens.weight.data.copy_(theirs.model.shared.weight)
    folder = rewritten(
        save(theirs, tmp_path / "old"), {}, lambda found: {k: v for k, v in found.items() if "embed_tokens" not in k}
    )
    pairs, inputs, masks = pair(53, "right")
    with exact(), torch.no_grad():
        want = theirs(**inputs).logits
    ours = jorip.load(folder)
    same(ours(*pairs, **masks).logits, want, masks["target_mask"], 1e-10)
    back(theirs, ours, tmp_path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"normalize_before": True}, ("normalize_before: True is not supported, False is",)),
        ({"extra_pos_embeddings": 0}, ("extra_pos_embeddings: 0 is not supported, 2 is",)),
        ({"hidden_size": 20}, ("hidden_size is 20, but d_model is 18",)),
        ({"decoder_attention_heads": 4}, ("decoder", "d_model must be a multiple of n_heads")),
        ({"activation_function": "mish"}, ("activation_function: 'mish' is not one of",)),
        ({"architectures": ["BartForCausalLM"]}, ("bart has no head 'BartForCausalLM'",)),
    ],
    ids=str,
)
def test_refusals(fields, words, tmp_path):
    folder = save(hf.BartForConditionalGeneration(hf.BartConfig(**SIZES)), tmp_path)
    refuses(rewritten(folder, fields), *words)


def test_published_sizes():
    for name, millions in (("bart-base", 139), ("bart-large", 406)):
        n = sum(p.numel() for p in jorip.recipe(name).build(device="meta").parameters())
        assert round(n / 1e6) == millions
