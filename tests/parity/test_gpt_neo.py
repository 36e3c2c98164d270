"""GPT-Neo in and out: every pattern of layers, windows smaller than the sequences."""

import pytest
import torch
import transformers as hf

from tests.parity.compare import check
from tests.parity.decoders import FEW, check_old_keys, check_spans, check_whole

SIZES = {
    "vocab_size": 53,
    "max_position_embeddings": 19,
    "hidden_size": 15,
    "num_layers": 3,
    "num_heads": 3,
    "window_size": 3,
    "attention_types": [[["global", "local"], 1], [["global"], 1]],
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VARIANTS = [
    {},
    {"attention_types": [[["local"], 3]], "window_size": 1, "intermediate_size": 7},
    {"attention_types": [[["global"], 3]], "tie_word_embeddings": False, "activation_function": "relu"},
    {"attention_types": [[["global"], 1], [["local"], 2]], "layer_norm_epsilon": 0.01, "window_size": 2},
    {"attention_types": [[["global", "local"], 2]], "num_layers": 4},
]


@pytest.mark.parametrize("more", VARIANTS)
def test_language_model(more, tmp_path):
    check(hf.GPTNeoForCausalLM(hf.GPTNeoConfig(**SIZES | more)), tmp_path, 53)


def test_without_a_head(tmp_path):
    check(hf.GPTNeoModel(hf.GPTNeoConfig(**SIZES)), tmp_path, 53, generates=False)


def test_heads(tmp_path):
    config = hf.GPTNeoConfig(**SIZES | FEW)
    check(hf.GPTNeoForTokenClassification(config), tmp_path / "tags", 53, tolerance=1e-10, generates=False)
    check_whole(hf.GPTNeoForSequenceClassification(config), tmp_path / "whole", 1e-10)
    check_spans(hf.GPTNeoForQuestionAnswering(config), tmp_path / "spans", 1e-10)


def test_keys_of_old_versions(tmp_path):
    masks = {f"h.{i}.attn.attention.bias": torch.ones(1, 1, 19, 19).tril() for i in range(3)}
    more = {f"h.{i}.attn.attention.masked_bias": torch.tensor(-1e9) for i in range(3)}
    check_old_keys(hf.GPTNeoForCausalLM(hf.GPTNeoConfig(**SIZES)), tmp_path, "transformer.", masks | more)
