"""Qwen2 and Qwen3 in and out: biases, normed queries and keys, heads of any width, layers with and without a window."""

import pytest
import transformers as hf

from tests.parity.compare import check
from tests.parity.decoders import FEW, check_spans, check_whole
from tests.parity.test_llama import SIZES

WINDOWS = [
    {},
    {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
    {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0},
    {
        "use_sliding_window": True,
        "sliding_window": 2,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    {"use_sliding_window": False, "sliding_window": 2, "max_window_layers": 1},
]
QWEN2 = [{}, {"num_key_value_heads": 1, "tie_word_embeddings": True}, {"hidden_act": "gelu_pytorch_tanh"}]
QWEN3 = [
    {"num_key_value_heads": 1, "head_dim": 4},
    {"num_key_value_heads": 3, "head_dim": 6, "attention_bias": True, "tie_word_embeddings": True},
    {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10, "rms_norm_eps": 0.01},
]


@pytest.mark.parametrize("more", [*({"num_key_value_heads": 3} | q for q in QWEN2), *WINDOWS[1:]])
def test_qwen2(more, tmp_path):
    config = hf.Qwen2Config(**SIZES | {"num_key_value_heads": 3} | more)
    check(hf.Qwen2ForCausalLM(config), tmp_path, 53)


@pytest.mark.parametrize("more", [*QWEN3, *({"num_key_value_heads": 3, "head_dim": 8} | w for w in WINDOWS[1:])])
def test_qwen3(more, tmp_path):
    check(hf.Qwen3ForCausalLM(hf.Qwen3Config(**SIZES | more)), tmp_path, 53)


def test_without_a_head(tmp_path):
    config = hf.Qwen3Config(**SIZES, num_key_value_heads=3, head_dim=8)
    check(hf.Qwen3Model(config), tmp_path, 53, generates=False)


@pytest.mark.parametrize("name", ["Qwen2", "Qwen3"])
def test_heads(name, tmp_path):
    config = getattr(hf, f"{name}Config")(**SIZES | FEW, num_key_value_heads=3)
    tags, whole, spans = (
        getattr(hf, f"{name}For{head}")(config)
        for head in ("TokenClassification", "SequenceClassification", "QuestionAnswering")
    )
    check(tags, tmp_path / "tags", 53, generates=False)
    check_whole(whole, tmp_path / "whole", 1e-10)
    check_spans(spans, tmp_path / "spans", 1e-10)
