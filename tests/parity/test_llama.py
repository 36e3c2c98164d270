"""Llama in and out: sizes, biases, heads and every law of rotary frequencies."""

import pytest
import torch
import transformers as hf

import jorip
from tests.parity.compare import batch, check, exact
from tests.parity.decoders import FEW, check_old_keys, check_spans, check_whole

SIZES = {
    "vocab_size": 53,
    "hidden_size": 18,
    "intermediate_size": 23,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "max_position_embeddings": 40,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LAWS = {
    "linear": {"factor": 2.5},
    "dynamic": {"factor": 3.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 10, "beta_fast": 2.0, "beta_slow": 0.5},
    "llama3": {
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "longrope": {
        "factor": 4.0,
        "original_max_position_embeddings": 10,
        "short_factor": [1.0, 1.5, 2.0],
        "long_factor": [1.5, 2.5, 4.5],
    },
}
VARIANTS = [
    {},
    {"num_key_value_heads": 1, "tie_word_embeddings": True},
    {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 4, "attention_bias": True, "hidden_act": "gelu"},
    {"mlp_bias": True, "rms_norm_eps": 0.01, "rope_theta": 37.0},
]


@pytest.mark.parametrize("more", VARIANTS)
def test_language_model(more, tmp_path):
    check(hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES | more)), tmp_path, 53)


@pytest.mark.parametrize("law", LAWS)
def test_laws_of_rotary_frequencies(law, tmp_path):
    config = hf.LlamaConfig(**SIZES, rope_parameters={"rope_type": law, "rope_theta": 100.0} | LAWS[law])
    check(hf.LlamaForCausalLM(config), tmp_path, 53)


def test_dynamic_frequencies_beyond_the_trained_length(tmp_path):
    """Made anew in a forward pass, transformers' are float32 in float64 models too. Generated once: its second
    generation starts with the frequencies that the first one ended with."""
    law = {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 3.0}
    config = hf.LlamaConfig(**SIZES | {"max_position_embeddings": 5, "rope_parameters": law})
    check(hf.LlamaForCausalLM(config), tmp_path, 53, tolerance=1e-7, generates=False)
    theirs = hf.LlamaForCausalLM.from_pretrained(tmp_path / "theirs", dtype=torch.float64).eval()
    ours, tokens = jorip.load(tmp_path / "theirs"), batch(53, "right", lengths=(6,))[0]
    with exact(), torch.no_grad():
        want = theirs.generate(tokens, max_new_tokens=9, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert ours.generate(tokens, max_new_tokens=9, eos=None).tolist() == want[:, 6:].tolist()


def test_without_a_head(tmp_path):
    check(hf.LlamaModel(hf.LlamaConfig(**SIZES)), tmp_path, 53, generates=False)


def test_heads(tmp_path):
    config = hf.LlamaConfig(**SIZES | FEW)
    check(hf.LlamaForTokenClassification(config), tmp_path / "tags", 53, generates=False)
    check_whole(hf.LlamaForSequenceClassification(config), tmp_path / "whole", 1e-10)
    check_spans(hf.LlamaForQuestionAnswering(config), tmp_path / "spans", 1e-10)


def test_keys_of_old_versions(tmp_path):
    more = {f"layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(3) for i in range(3)}
    check_old_keys(hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES)), tmp_path, "model.", more)
