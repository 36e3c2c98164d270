"""T5 in and out: v1.0 and v1.1, every head, the encoder alone, and the files that old versions wrote."""

import json

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

import jorip
from jorip.recipes.family import Config
from jorip.recipes.t5 import FAMILY
from tests.parity.compare import back, batch, check, exact, refuses, same, save, shake
from tests.parity.seq2seq import check_pairs, pair

SIZES = {
    "vocab_size": 53, "d_model": 15, "d_kv": 5, "d_ff": 11, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 2,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 5, "dropout_rate": 0.0,
    "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 2,
}  # fmt: skip
BOTH = ("right", "left")
V1_1 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


@pytest.mark.parametrize(
    "more",
    [
        {},
        V1_1,
        {"feed_forward_proj": "gated-silu", "num_decoder_layers": None, "num_heads": 3},
        {"feed_forward_proj": "gelu", "relative_attention_num_buckets": 33, "relative_attention_max_distance": 128},
        {"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu", "layer_norm_epsilon": 1e-3, "d_kv": 1},
    ],
    ids=str,
)
def test_sequence_to_sequence(more, tmp_path):
    check_pairs(hf.T5ForConditionalGeneration(hf.T5Config(**SIZES | more)), tmp_path, 53, BOTH)


def test_more_layers_to_decode(tmp_path):
    """transformers cannot generate with those: its cache has a place for each of the encoder's."""
    config = hf.T5Config(**SIZES | {"num_decoder_layers": 4})
    check_pairs(hf.T5ForConditionalGeneration(config), tmp_path, 53, BOTH, generates=False)


@pytest.mark.parametrize("more", [{}, V1_1], ids=str)
def test_without_a_head(more, tmp_path):
    check_pairs(hf.T5Model(hf.T5Config(**SIZES | more)), tmp_path, 53, BOTH, generates=False)


@pytest.mark.parametrize("kind", [hf.T5EncoderModel, hf.T5ForTokenClassification])
def test_the_encoder_alone(kind, tmp_path):
    theirs = kind(hf.T5Config(**SIZES, num_labels=3))
    ours = check(theirs, tmp_path, 53, sides=("right",), generates=False)
    assert ours.spec.kind == "encoder"
    tokens, mask = batch(53, "left")
    with exact(), torch.no_grad():
        want = theirs(input_ids=tokens, attention_mask=mask.long())[0]
    got = ours(tokens, mask=mask)
    same(got.hidden if got.logits is None else got.logits, want, mask, 1e-10)


def test_sequence_classification(tmp_path):
    """The decoder reads the text shifted by one, and its last row decides."""
    theirs = shake(hf.T5ForSequenceClassification(hf.T5Config(**SIZES, num_labels=3))).double().eval()
    ours = jorip.load(save(theirs, tmp_path / "theirs"))
    (source, _), inputs, masks = pair(53, "right")
    mask = masks["source_mask"]
    source[range(3), mask.sum(1) - 1] = 1  # each ends with eos
    with exact(), torch.no_grad():
        want = theirs(input_ids=source, attention_mask=inputs["attention_mask"]).logits
    torch.testing.assert_close(ours(source, source_mask=mask).logits, want, rtol=1e-10, atol=1e-10)
    back(theirs, ours, tmp_path)


def test_question_answering(tmp_path):
    theirs = shake(hf.T5ForQuestionAnswering(hf.T5Config(**SIZES))).double().eval()
    ours = jorip.load(save(theirs, tmp_path / "theirs"))
    (source, _), inputs, masks = pair(53, "right")
    mask = masks["source_mask"]
    with exact(), torch.no_grad():
        o = theirs(input_ids=source, attention_mask=inputs["attention_mask"])
    want = torch.stack([o.start_logits, o.end_logits], -1)
    same(ours(source, source_mask=mask).logits, want, mask, 1e-10)
    back(theirs, ours, tmp_path)


def rewritten(folder, keep: dict, **weights):
    """The folder with fields of its config and more weights; None takes a field out."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | keep
    config = {k: v for k, v in config.items() if v is not None}
    path.write_text(json.dumps(config), encoding="utf-8")
    save_file(load_file(folder / "model.safetensors") | weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def old(tmp_path, tied: bool):
    """A folder as the hub has them: no `scale_decoder_outputs`, and v1.1 with a readout of its own."""
    theirs = shake(hf.T5ForConditionalGeneration(hf.T5Config(**SIZES | ({} if tied else V1_1)))).double()
    folder = save(theirs, tmp_path / "old")
    shared = theirs.shared.weight.detach()
    copies = {f"{side}.embed_tokens.weight": shared.clone() for side in ("encoder", "decoder")}
    copies["lm_head.weight"] = shared.clone() if tied else torch.randn(53, 15, dtype=torch.float64)
    dead = {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.randn(8, 2)}
    fields = {"scale_decoder_outputs": None, "tie_word_embeddings": None if tied else False, "n_positions": 512}
    fields |= {"is_gated_act": None, "dense_act_fn": None, "classifier_dropout": None}
    if tied:
        fields |= {"architectures": ["T5WithLMHeadModel"], "feed_forward_proj": None}
    return rewritten(folder, fields, **copies, **dead)


@pytest.mark.parametrize("tied", [True, False])
def test_files_of_the_hub(tied, tmp_path):
    folder = old(tmp_path, tied)
    theirs = hf.T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float64).eval()
    ours = jorip.load(folder)
    pairs, inputs, masks = pair(53, "right")
    for model in (ours, jorip.load(jorip.save(ours, tmp_path / "new", format="hf"))):
        with exact(), torch.no_grad():
            want = theirs(**inputs).logits
        same(model(*pairs, **masks).logits, want, masks["target_mask"], 1e-10)
    again = hf.T5ForConditionalGeneration.from_pretrained(tmp_path / "new", dtype=torch.float64)
    assert (again.lm_head.weight is again.shared.weight) == tied
    assert again.config.scale_decoder_outputs == tied


def test_an_untied_model_that_transformers_5_wrote_as_tied(tmp_path):
    """It says tie_word_embeddings for v1.1, and goes by the file."""
    folder = rewritten(old(tmp_path, tied=False), {"tie_word_embeddings": True, "scale_decoder_outputs": False})
    assert jorip.load(folder).spec.decoder.readout == jorip.LanguageModel(tied=False)


@pytest.mark.parametrize(
    "name, millions",
    [("t5-small", 60.507), ("t5-base", 222.904), ("t5-large", 737.668), ("t5-3b", 2851.598), ("t5-11b", 11307.321),
     ("t5-v1.1-small", 76.961), ("t5-v1.1-base", 247.578), ("t5-v1.1-large", 783.150), ("t5-v1.1-xl", 2849.757),
     ("t5-v1.1-xxl", 11135.332)],
)  # fmt: skip
def test_sizes_are_the_published_ones(name, millions):
    model = jorip.recipe(name).build(device="meta")
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 3) == millions


def test_recipes_are_what_configs_say():
    v1_1 = {"num_layers": 8, "num_heads": 6, "d_ff": 1024, "dropout_rate": 0.0} | V1_1
    for name, fields in (("t5-small", {}), ("t5-v1.1-small", v1_1)):
        values = hf.T5Config(**fields).to_dict() | {"tie_word_embeddings": name == "t5-small"}
        read = FAMILY.read(Config(values), "T5ForConditionalGeneration")
        assert jorip.diff(read, jorip.recipe(name)) == "no difference"


def test_refusals(tmp_path):
    folder = old(tmp_path, True)
    refuses(rewritten(folder, {"feed_forward_proj": "gated-gelu-gelu"}), "neither an activation nor gated-<one>")
    refuses(
        rewritten(folder, {"feed_forward_proj": "gated-mish"}), "feed_forward_proj: 'mish' is not one of 'gelu_new'"
    )
    refuses(rewritten(folder, {"feed_forward_proj": 3}), "feed_forward_proj: 3 is neither")
    refuses(rewritten(folder, {"feed_forward_proj": "gated-relu"}), "wi")
    other = {"lm_head.weight": torch.randn(53, 15, dtype=torch.float64)}
    refuses(rewritten(folder, {"feed_forward_proj": None}, **other), "'lm_head.weight' should be the same as 'shared")
