"""What a checkpoint says where the caller of `generate` says nothing."""

from types import SimpleNamespace

import pytest
import torch

from jorip.core.errors import ConfigError
from jorip.inference.defaults import defaults
from jorip.inference.generate import generate
from tests.inference.tiny_models import VOCAB

PROMPT = torch.tensor([[5, 3, 7], [4, 4, 4]])


def told(model, generation=None, **ids):
    """The model, as if it were loaded from a folder that says this."""
    config = {f"{name}_token_id": i for name, i in ids.items()}
    model.origin = SimpleNamespace(ids=ids, generation=generation or {}, config=config)
    return model


def test_our_own_models_have_none(decoder):
    assert defaults(decoder, 3, {}) == {}


def test_special_ids(decoder, pair):
    ids = {"bos": 3, "eos": 2, "pad": 1, "decoder_start": 4, "forced_bos": 5, "forced_eos": 6}
    found = defaults(told(pair, **ids), 1, {})
    wanted = {"bos": 4, "eos": (2,), "pad": 1, "forced_first": 5, "forced_last": 6, "beams": 1}
    assert {name: found[name] for name in wanted} == wanted
    assert defaults(told(pair, bos=3), 1, {})["bos"] == 3
    found = defaults(told(decoder, **ids), 3, {})
    assert "bos" not in found and "forced_first" not in found  # a prompt has them already
    assert defaults(told(decoder, {"eos_token_id": [7, 2, 500]}, eos=2), 3, {})["eos"] == (7, 2)
    assert defaults(told(decoder, eos=50256, pad=50256), 3, {})["eos"] is None  # can never come


def test_generation_uses_them_and_the_caller_wins(pair):
    free = generate(pair, PROMPT, max_new_tokens=8, bos=4)
    eos = int(free[0, 2])
    told(pair, bos=3, eos=eos, decoder_start=4, pad=0)
    cut = generate(pair, PROMPT, max_new_tokens=8)
    n = free[0].tolist().index(eos) + 1
    assert cut[0].tolist() == (free[0, :n].tolist() + [0] * 8)[: cut.shape[1]]
    assert torch.equal(generate(pair, PROMPT, max_new_tokens=8, eos=None), free)


def test_settings(decoder, pair):
    theirs = {
        "num_beams": 4, "length_penalty": 2.0, "early_stopping": True, "no_repeat_ngram_size": 3, "max_length": 20,
        "min_length": 6, "bad_words_ids": [[5], [2]], "suppress_tokens": [7, 99], "eos_token_id": 2, "top_k": 9,
        "temperature": None, "encoder_no_repeat_ngram_size": 0, "diversity_penalty": 0.0,
    }  # fmt: skip
    assert defaults(told(decoder, theirs), 3, {}) == {
        "beams": 4, "length_penalty": 2.0, "early_stopping": True, "no_repeat_ngram": 3, "max_new_tokens": 17,
        "min_new_tokens": 3, "forbid": (5, 7), "eos": (2,), "pad": None, "forced_last": None, "length_norm": "length",
        "renormalise": False,
    }  # fmt: skip
    found = defaults(told(pair, theirs), 1, {"max_new_tokens": 4, "temperature": 0.5})
    assert found["min_new_tokens"] == 4 and "beams" not in found
    assert defaults(told(pair, theirs | {"max_new_tokens": 5, "min_new_tokens": 1}), 1, {})["max_new_tokens"] == 5


def test_sampling_is_taken_unless_the_caller_says_how_to_choose(decoder):
    told(decoder, {"do_sample": True, "temperature": 0.6, "top_p": 0.9})
    assert {k: v for k, v in defaults(decoder, 3, {}).items() if k in ("temperature", "top_k", "top_p", "beams")} == {
        "temperature": 0.6, "top_k": 50, "top_p": 0.9,
    }  # fmt: skip
    for given in ({"beams": 1}, {"temperature": 0}, {"top_k": 1}):
        assert not {"temperature", "top_k", "top_p", "beams"} & set(defaults(decoder, 3, given))
    a, b = (generate(decoder, PROMPT, max_new_tokens=6, seed=s) for s in (1, 2))
    assert not torch.equal(a, b)
    assert defaults(told(decoder, {"do_sample": True, "top_k": 0, "top_p": 1.0}), 3, {})["top_k"] is None


def test_pad_0_is_no_id_to_their_beam_search(pair):
    told(pair, {"num_beams": 2, "pad_token_id": 0, "eos_token_id": 2})
    assert defaults(pair, 1, {})["pad"] is None and defaults(pair, 1, {"beams": 1})["pad"] == 0


@pytest.mark.parametrize(
    "theirs",
    [
        {"typical_p": 0.9, "do_sample": True},
        {"num_beams": 4, "do_sample": True},
        {"encoder_no_repeat_ngram_size": 3},
        {"num_beam_groups": 2},
        {"bad_words_ids": [[4, 5]]},
    ],
    ids=str,
)
def test_settings_that_are_lacking_are_named(decoder, theirs):
    name = next(iter(theirs))
    with pytest.raises(ConfigError, match=f"ask for {name}=.*take it out of model.origin.generation"):
        generate(told(decoder, theirs), PROMPT)


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        ({"bad_words_ids": 5}, "settings are damaged .*: see model.origin.generation"),
        ({"top_p": "much", "do_sample": True}, "settings are damaged"),
        ({"length_penalty": "long", "num_beams": 2}, "length_penalty must be a number, found 'long'"),
        ({"num_beams": 2.5}, "beams must be a whole number of at least 1, found 2.5"),
    ],
    ids=str,
)
def test_damaged_settings_are_refused(decoder, theirs, says):
    with pytest.raises(ConfigError, match=says):
        generate(told(decoder, theirs), PROMPT)


def test_what_only_sampling_reads_is_no_matter_otherwise(decoder):
    told(decoder, {"typical_p": 0.9})
    assert generate(decoder, PROMPT, max_new_tokens=2).shape == (2, 2)
    assert generate(told(decoder, {"max_length": 2}), PROMPT, max_new_tokens=1).max() < VOCAB
