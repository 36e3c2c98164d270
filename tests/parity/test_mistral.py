"""Mistral in and out: windows smaller than the sequences, and generation past them."""

import pytest
import torch
import transformers as hf

import jorip
from tests.parity.compare import batch, check, exact, same, save, shake
from tests.parity.decoders import FEW, check_spans, check_whole
from tests.parity.test_llama import SIZES

VARIANTS = [
    {"num_key_value_heads": 1, "sliding_window": 3},
    {"num_key_value_heads": 3, "sliding_window": None, "tie_word_embeddings": True},
    {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10, "sliding_window": 4},
    {"num_key_value_heads": 3, "sliding_window": 100},
]


@pytest.mark.parametrize("more", VARIANTS)
def test_language_model(more, tmp_path):
    check(hf.MistralForCausalLM(hf.MistralConfig(**SIZES | more)), tmp_path, 53)


def test_long_sequences_in_blocks(tmp_path):
    """Long enough that windows are computed block by block: full passes, ragged and padded; then generation."""
    config = hf.MistralConfig(**SIZES | {"max_position_embeddings": 200}, num_key_value_heads=1, sliding_window=5)
    theirs = shake(hf.MistralForCausalLM(config)).double().eval()
    ours = jorip.load(save(theirs, tmp_path))
    for side in ("right", "left"):
        tokens, mask = batch(53, side, lengths=(131, 40, 97))
        places = (mask.long().cumsum(-1) - 1).clamp(min=0)
        with exact():
            want = theirs(tokens, attention_mask=mask.long(), position_ids=places).logits
        same(ours(tokens, mask=mask).logits, want, mask, 1e-10)
    with exact(), torch.no_grad():
        common = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
        want = theirs.generate(tokens, attention_mask=mask.long(), **common)
    assert ours.generate(tokens, mask=mask, max_new_tokens=12, eos=None).tolist() == want[:, 131:].tolist()


def test_a_window_of_one(tmp_path):
    """Not generated: transformers then keeps everything, because -1 + 1 is 0 and a slice from 0 is the whole."""
    config = hf.MistralConfig(**SIZES, num_key_value_heads=3, sliding_window=1)
    check(hf.MistralForCausalLM(config), tmp_path, 53, generates=False)


def test_without_a_head(tmp_path):
    config = hf.MistralConfig(**SIZES, num_key_value_heads=3, sliding_window=2)
    check(hf.MistralModel(config), tmp_path, 53, generates=False)


def test_heads(tmp_path):
    config = hf.MistralConfig(**SIZES | FEW | {"num_key_value_heads": 3, "sliding_window": 3})
    check(hf.MistralForTokenClassification(config), tmp_path / "tags", 53, generates=False)
    check_whole(hf.MistralForSequenceClassification(config), tmp_path / "whole", 1e-10)
    check_spans(hf.MistralForQuestionAnswering(config), tmp_path / "spans", 1e-10)
