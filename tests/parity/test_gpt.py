"""GPT-1 in and out."""

import pytest
import torch
import transformers as hf

from tests.parity.compare import check
from tests.parity.decoders import FEW, check_old_keys, check_whole

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


@pytest.mark.parametrize("more", [{}, {"afn": "relu", "layer_norm_epsilon": 0.01}, {"tie_word_embeddings": False}])
def test_language_model(more, tmp_path):
    check(hf.OpenAIGPTLMHeadModel(hf.OpenAIGPTConfig(**SIZES | more)), tmp_path, 53)


def test_without_a_head(tmp_path):
    check(hf.OpenAIGPTModel(hf.OpenAIGPTConfig(**SIZES)), tmp_path, 53, generates=False)


def test_whole_sequences(tmp_path):
    check_whole(hf.OpenAIGPTForSequenceClassification(hf.OpenAIGPTConfig(**SIZES | FEW)), tmp_path, 1e-10)


def test_keys_of_old_versions(tmp_path):
    masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 19, 19).tril() for i in range(3)}
    theirs = hf.OpenAIGPTLMHeadModel(hf.OpenAIGPTConfig(**SIZES))
    check_old_keys(theirs, tmp_path, "transformer.", masks | {"position_ids": torch.arange(19)})
