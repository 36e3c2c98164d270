"""The worked example of docs/checkpoints.md is run as it stands there: it is OPT, the same as transformers'."""

import re
from pathlib import Path

import pytest
import transformers as hf

from jorip.exchange import families
from jorip.exchange.families import family
from tests.parity.compare import check

PAGE = Path(__file__).parents[2] / "docs" / "checkpoints.md"
SIZES = {
    "vocab_size": 53, "hidden_size": 15, "num_hidden_layers": 3, "num_attention_heads": 3, "ffn_dim": 7, "dropout": 0.0,
    "max_position_embeddings": 19, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "word_embed_proj_dim": 15,
}  # fmt: skip


@pytest.fixture
def opt(monkeypatch):
    """The page's family, known for the time of one test."""
    block = next(b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL) if "OPT = Fam" in b)
    space: dict = {}
    exec(block, space)
    found = space["OPT"]
    known = families._MODULES | {"opt": "gpt2"}
    monkeypatch.setattr(families, "_MODULES", known)
    monkeypatch.setattr("jorip.recipes.gpt2.OPT", found, raising=False)
    return found


@pytest.mark.parametrize("more", [{}, {"enable_bias": False, "activation_function": "gelu"}])
def test_the_page_s_family_is_the_model(more, opt, tmp_path):
    assert family("opt") is opt
    check(hf.OPTForCausalLM(hf.OPTConfig(**SIZES, **more)), tmp_path, 53)


def test_without_a_head_and_untied(opt, tmp_path):
    check(hf.OPTModel(hf.OPTConfig(**SIZES)), tmp_path / "a", 53, generates=False)
    check(hf.OPTForCausalLM(hf.OPTConfig(**SIZES, tie_word_embeddings=False)), tmp_path / "b", 53)


def test_the_page_names_every_family():
    text = PAGE.read_text("utf-8")
    listed = re.search(r"^Families: (.*?)\. ", text, re.DOTALL | re.MULTILINE)
    assert listed and set(re.findall(r"`([\w-]+)`", listed[1])) == set(families.families())
