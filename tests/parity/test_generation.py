"""A loaded model generates as its makers let it: `generate` without any option gives transformers' ids.

The end token is one that the random model likes, so that hypotheses end early, at different times.
"""

import json

import pytest
import torch
import transformers as hf

import jorip
from tests.parity.compare import batch, exact, shake
from tests.parity.seq2seq import shake_buffers

VOCAB = 17
PAIR = {
    "vocab_size": VOCAB, "d_model": 18, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 3,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 11, "decoder_ffn_dim": 7, "max_position_embeddings": 40,
    "dropout": 0.0, "forced_eos_token_id": None,
}  # fmt: skip
ALONE = {"vocab_size": VOCAB, "n_positions": 40, "n_embd": 15, "n_layer": 2, "n_head": 3} | dict.fromkeys(
    ("attn_pdrop", "resid_pdrop", "embd_pdrop"), 0.0
)


def built(kind: str, seed: int):
    """A random model, prompts padded where transformers wants them, and how many columns are not new."""
    if kind == "pair":
        model = hf.BartForConditionalGeneration(hf.BartConfig(**PAIR))
    else:
        model = hf.GPT2LMHeadModel(hf.GPT2Config(**ALONE, eos_token_id=2, bos_token_id=1, pad_token_id=0))
    tokens, mask = batch(VOCAB, "right" if kind == "pair" else "left", seed)
    return shake_buffers(shake(model, seed)).double().eval(), tokens, mask, 1 if kind == "pair" else tokens.shape[1]


def liked(model, tokens, mask, used: int) -> int:
    """The id that it generates most often."""
    free = model.generate(
        input_ids=tokens, attention_mask=mask.long(), max_new_tokens=12, eos_token_id=None, forced_eos_token_id=None
    )
    new = free[:, used:].flatten().tolist()
    return max(set(new) - {0}, key=new.count)


SETTINGS = [
    {},
    {"num_beams": 3, "length_penalty": 0.0},
    {"num_beams": 3, "length_penalty": 1.0, "early_stopping": True},
    {"num_beams": 4, "length_penalty": 2.0, "early_stopping": "never"},
    {"num_beams": 2, "length_penalty": -1.0, "min_new_tokens": 3, "forced_eos_token_id": 3},
    {"num_beams": 3, "no_repeat_ngram_size": 2, "renormalize_logits": True, "min_length": 9, "max_length": 16},
    {"num_beams": 2, "repetition_penalty": 1.3, "bad_words_ids": [[5], [2]], "suppress_tokens": [0, 4]},
    {"no_repeat_ngram_size": 1, "repetition_penalty": 0.8, "forced_eos_token_id": 7, "pad_token_id": 1},
]


@pytest.mark.parametrize("kind", ["pair", "alone"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@torch.no_grad()
def test_settings_of_a_folder(kind, settings, tmp_path):
    for seed in range(2):
        theirs, tokens, mask, used = built(kind, seed)
        eos = liked(theirs, tokens, mask, used)
        settings = {"suppress_tokens": [0], "eos_token_id": [eos, 9] if seed else eos} | settings
        if "max_length" not in settings:
            settings["max_new_tokens"] = 12
        if kind == "pair" and seed:
            settings["forced_bos_token_id"] = 11
        for name, value in settings.items():
            setattr(theirs.generation_config, name, value)
        with exact():
            want = theirs.generate(input_ids=tokens, attention_mask=mask.long())[:, used:]
        theirs.save_pretrained(tmp_path / str(seed))
        ours = jorip.load(tmp_path / str(seed))
        assert ours.generate(tokens, mask=mask).tolist() == want.tolist()


@torch.no_grad()
def test_a_folder_of_an_old_version_keeps_them_in_its_config(tmp_path):
    theirs, tokens, mask, used = built("pair", 0)
    theirs.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    config = hf.BartConfig.from_pretrained(tmp_path).to_dict()
    config |= {"num_beams": 3, "max_length": 11, "min_length": 4, "no_repeat_ngram_size": 2, "forced_eos_token_id": 2}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with exact():
        want = theirs.generate(
            input_ids=tokens, attention_mask=mask.long(), num_beams=3, max_length=11, min_length=4,
            no_repeat_ngram_size=2, forced_eos_token_id=2,
        )  # fmt: skip
    assert jorip.load(tmp_path).generate(tokens, mask=mask).tolist() == want[:, used:].tolist()


@torch.no_grad()
def test_what_the_caller_says_wins(tmp_path):
    theirs, tokens, mask, used = built("pair", 1)
    theirs.generation_config.num_beams, theirs.generation_config.length_penalty = 4, 2.0
    theirs.save_pretrained(tmp_path)
    ours = jorip.load(tmp_path)
    with exact():
        for beams, penalty in ((1, 1.0), (3, 0.5)):
            want = theirs.generate(
                input_ids=tokens, attention_mask=mask.long(), num_beams=beams, length_penalty=penalty,
                max_new_tokens=9, eos_token_id=None, decoder_start_token_id=5,
            )  # fmt: skip
            options = {"beams": beams, "length_penalty": penalty, "max_new_tokens": 9, "eos": None, "bos": 5}
            assert ours.generate(tokens, mask=mask, **options).tolist() == want[:, used:].tolist()
