"""GPT-2 in and out."""

import pytest
import torch
import transformers as hf

from tests.parity.compare import check
from tests.parity.decoders import FEW, check_old_keys, check_spans, check_whole

SIZES = {
    "vocab_size": 53,
    "n_positions": 19,
    "n_embd": 15,
    "n_layer": 3,
    "n_head": 3,
    "attn_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
}
SIZES |= {"bos_token_id": 1, "eos_token_id": 2}


VARIANTS = [
    {},
    {"n_inner": 7, "activation_function": "relu"},
    {"scale_attn_weights": False},
    {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True, "layer_norm_epsilon": 0.01},
    {"scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": False, "n_layer": 2},
]


@pytest.mark.parametrize("more", VARIANTS)
def test_language_model(more, tmp_path):
    check(hf.GPT2LMHeadModel(hf.GPT2Config(**SIZES | more)), tmp_path, 53)


def test_untied(tmp_path):
    check(hf.GPT2LMHeadModel(hf.GPT2Config(**SIZES, tie_word_embeddings=False)), tmp_path, 53)


def test_without_a_head(tmp_path):
    check(hf.GPT2Model(hf.GPT2Config(**SIZES)), tmp_path, 53, generates=False)


def test_heads(tmp_path):
    config = hf.GPT2Config(**SIZES | FEW)
    check(hf.GPT2ForTokenClassification(config), tmp_path / "tags", 53, tolerance=1e-10, generates=False)
    check_whole(hf.GPT2ForSequenceClassification(config), tmp_path / "whole", 1e-10)
    check_spans(hf.GPT2ForQuestionAnswering(config), tmp_path / "spans", 1e-10)


def test_keys_of_old_versions(tmp_path):
    masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 19, 19).tril() for i in range(3)}
    more = {f"h.{i}.attn.masked_bias": torch.tensor(-10000.0) for i in range(3)}
    check_old_keys(hf.GPT2LMHeadModel(hf.GPT2Config(**SIZES)), tmp_path, "transformer.", masks | more)
