"""GPT-2 in and out."""

import pytest
import transformers as hf

from tests.parity.compare import check

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


@pytest.mark.parametrize("more", [{}, {"n_inner": 7, "activation_function": "relu"}, {"scale_attn_weights": False}])
def test_language_model(more, tmp_path):
    check(hf.GPT2LMHeadModel(hf.GPT2Config(**SIZES, **more)), tmp_path, 53)


def test_untied(tmp_path):
    check(hf.GPT2LMHeadModel(hf.GPT2Config(**SIZES, tie_word_embeddings=False)), tmp_path, 53)


def test_without_a_head(tmp_path):
    check(hf.GPT2Model(hf.GPT2Config(**SIZES)), tmp_path, 53, generates=False)
