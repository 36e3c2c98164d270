"""Decoder families as configs: published ones are the recipes, old and new forms are one spec, the rest is refused."""

import pytest
import transformers as hf

import jorip
from jorip.architectures.decoder import Decoder
from jorip.core.cost import Shape
from jorip.core.errors import CheckpointError
from jorip.core.spec import diff
from jorip.exchange.families import family
from jorip.parts.position.scaling import Dynamic, Linear, Llama3, LongRope, Yarn
from jorip.recipes.family import Config

LLAMA3 = {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192}
# as on the hub
PUBLISHED = {
    "gpt": {
        "afn": "gelu", "architectures": ["OpenAIGPTLMHeadModel"], "attn_pdrop": 0.1, "embd_pdrop": 0.1,
        "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "openai-gpt", "n_ctx": 512,
        "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 512, "n_special": 0,
        "predict_special_tokens": True, "resid_pdrop": 0.1, "summary_activation": None,
        "summary_first_dropout": 0.1, "summary_proj_to_labels": True, "summary_type": "cls_index",
        "summary_use_proj": True, "task_specific_params": {"text-generation": {"do_sample": True}},
        "vocab_size": 40478,
    },
    "gpt2": {
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12,
        "n_layer": 12, "n_positions": 1024, "resid_pdrop": 0.1, "summary_activation": None,
        "summary_first_dropout": 0.1, "summary_proj_to_labels": True, "summary_type": "cls_index",
        "summary_use_proj": True, "vocab_size": 50257,
    },
    "gpt-neo-125m": {
        "activation_function": "gelu_new", "architectures": ["GPTNeoForCausalLM"], "attention_dropout": 0,
        "attention_layers": ["global", "local"] * 6, "attention_types": [[["global", "local"], 6]],
        "bos_token_id": 50256, "embed_dropout": 0, "eos_token_id": 50256, "gradient_checkpointing": False,
        "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": None, "layer_norm_epsilon": 1e-05,
        "max_position_embeddings": 2048, "model_type": "gpt_neo", "num_heads": 12, "num_layers": 12,
        "resid_dropout": 0, "summary_activation": None, "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
        "use_cache": True, "vocab_size": 50257, "window_size": 256,
    },
    "llama-2-7b": {
        "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
        "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008,
        "max_position_embeddings": 4096, "model_type": "llama", "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 32, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_scaling": None, "tie_word_embeddings": False, "use_cache": True, "vocab_size": 32000,
    },
    "llama-3.2-1b": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": 128001, "head_dim": 64, "hidden_act": "silu",
        "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192,
        "max_position_embeddings": 131072, "mlp_bias": False, "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1,
        "rms_norm_eps": 1e-05, "rope_scaling": LLAMA3 | {"rope_type": "llama3"}, "rope_theta": 500000.0,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 128256,
    },
    "mistral-7b": {
        "architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
        "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
        "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
        "sliding_window": 4096, "tie_word_embeddings": False, "use_cache": True, "vocab_size": 32000,
    },
    "qwen2.5-0.5b": {
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
        "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02,
        "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 24,
        "model_type": "qwen2", "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": True,
        "use_cache": True, "use_mrope": False, "use_sliding_window": False, "vocab_size": 151936,
    },
    "qwen3-0.6b": {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
        "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 3072,
        "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
        "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
        "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": True,
        "use_cache": True, "use_sliding_window": False, "vocab_size": 151936,
    },
}  # fmt: skip
MILLIONS = {
    "gpt": 116.5, "gpt2": 124.4, "gpt2-medium": 354.8, "gpt2-large": 774.0, "gpt2-xl": 1557.6,
    "gpt-neo-125m": 125.2, "gpt-neo-1.3b": 1315.6, "gpt-neo-2.7b": 2651.3, "llama-2-7b": 6738.4,
    "llama-3.1-8b": 8030.3, "llama-3.2-1b": 1235.8, "mistral-7b": 7241.7, "qwen2.5-0.5b": 494.0,
    "qwen2.5-7b": 7615.6, "qwen3-0.6b": 596.0, "qwen3-8b": 8190.7,
}  # fmt: skip


def read(values: dict, head: str = "") -> Decoder:
    kind = family(values["model_type"])
    return kind.read(Config(values), head or (values.get("architectures") or [*kind.heads])[0])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_are_the_recipes(name):
    assert diff(read(PUBLISHED[name]), jorip.recipe(name)) == "no difference"


@pytest.mark.parametrize("name", MILLIONS)
def test_recipes_have_the_published_sizes_and_write_their_configs(name):
    spec = jorip.recipe(name)
    assert spec.cost(Shape(1, 4)).total_parameters == pytest.approx(MILLIONS[name] * 1e6, abs=5e4)
    kind = next(k for k in ("openai-gpt", "gpt2", "gpt_neo", "llama", "mistral", "qwen2", "qwen3") if fits(k, spec))
    fields, head = family(kind).write(spec)
    config = hf.AutoConfig.for_model(**fields)
    assert read(config.to_dict() | {"architectures": [head]}) == spec, "as transformers writes it again"


def fits(kind: str, spec) -> bool:
    try:
        return bool(family(kind).write(spec))
    except CheckpointError:
        return False


def llama(**more) -> dict:
    sizes = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 10, "num_hidden_layers": 2}
    return {"model_type": "llama", "vocab_size": 9, "max_position_embeddings": 64} | sizes | more


YARN = {"factor": 4.0, "original_max_position_embeddings": 16}
FACTORS = {"short_factor": [1.0, 1, 2], "long_factor": [2, 3.5, 4]}
FORMS = [
    ({}, None),
    ({"rope_theta": 500.0}, None),
    ({"rope_theta": 500, "rope_scaling": {"type": "linear", "factor": 2}}, Linear(factor=2.0)),
    ({"rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 2.0}}, Linear(factor=2.0)),
    ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}}, Linear(factor=2.0)),
    ({"rope_parameters": {"rope_type": "dynamic", "factor": 3.0}}, Dynamic(factor=3.0, original=64)),
    ({"rope_scaling": {"type": "yarn"} | YARN}, Yarn(factor=4.0, original=16)),
    ({"rope_scaling": {"type": "yarn", "factor": 2.0, "finetuned": True}}, Yarn(factor=2.0, original=64)),
    ({"rope_scaling": {"type": "yarn", "beta_fast": 16, "truncate": False} | YARN},
     Yarn(factor=4.0, original=16, beta_fast=16.0, truncate=False)),
    ({"rope_scaling": {"type": "llama3"} | LLAMA3 | YARN}, Llama3(factor=4.0, original=16)),
    ({"rope_scaling": {"type": "longrope", "original_max_position_embeddings": 16} | FACTORS},
     LongRope(short=(1.0, 1.0, 2.0), long=(2.0, 3.5, 4.0), original=16, factor=4.0)),
]  # fmt: skip


@pytest.mark.parametrize("form, law", FORMS)
def test_old_and_new_forms_of_rotary_fields(form, law):
    """Ours, and the form into which transformers puts them."""
    spec = read(llama(**form))
    assert spec.position.scaling == law
    theta = float(form.get("rope_theta", form.get("rope_parameters", {}).get("rope_theta", 10000.0)))
    assert spec.position.base == theta
    assert spec.max_len == (None if isinstance(law, Dynamic) else 64)
    assert read(hf.LlamaConfig.from_dict(llama(**form)).to_dict()) == spec
    assert read(family("llama").write(spec)[0]) == spec


def test_what_yarn_derives():
    law = {"rope_type": "yarn", "mscale": 0.7, "mscale_all_dim": 0.5} | YARN
    config = hf.LlamaConfig.from_dict(llama(rope_parameters=dict(law)))
    want = hf.modeling_rope_utils.ROPE_INIT_FUNCTIONS["yarn"](config)[1]
    assert read(llama(rope_parameters=law)).position.scaling.amplitude() == pytest.approx(want, abs=1e-12)
    early = llama(rope_scaling={"type": "yarn", "factor": 2.0}, original_max_position_embeddings=32)
    assert read(early).position.scaling == Yarn(factor=2.0, original=32)


REFUSED = [
    (llama(rope_scaling={"type": "yarm", "factor": 2.0}), "rope_type 'yarm' is not known; did you mean 'yarn'"),
    (llama(rope_scaling={"type": "linear"}), "rope_type 'linear' needs the field 'factor'"),
    (llama(rope_scaling={"type": "linear", "factor": "2"}), "factor must be a number, found '2'"),
    (llama(rope_scaling={"type": "linear", "factor": 0.5}), "greater than or equal to 1"),
    (llama(rope_scaling={"type": "linear", "factor": 2.0, "facto": 1}), "'linear' has no field 'facto'; did you mean"),
    (llama(rope_scaling={"type": "llama3"} | YARN), "'llama3' needs low_freq_factor and high_freq_factor"),
    (llama(rope_scaling={"type": "longrope"} | YARN), "'longrope' needs the field 'long_factor'"),
    (llama(rope_parameters={"full_attention": {"rope_type": "default"}}), "one mapping for all layers"),
    (llama(partial_rotary_factor=0.5), "partial_rotary_factor: 0.5 is not supported, 1.0 is"),
    (llama(hidden_size=30), "hidden_size must be a multiple of num_attention_heads, found 30 and 4"),
    (llama(pretraining_tp=2), "pretraining_tp: 2 is not supported"),
    (llama(hidden_act="quick_gelu"), "hidden_act: 'quick_gelu' is not one of"),
    (llama(max_position_embeddings=None), "max_position_embeddings and intermediate_size must be numbers"),
    (llama(architectures=["LlamaForMaskedLM"]), "llama has no head 'LlamaForMaskedLM'; did you mean"),
    (llama(model_type="qwen2", layer_types=["full_attention"]), "layer_types must name full_attention or"),
    (llama(model_type="qwen2", layer_types=["sliding_attention"] * 2), "there is no sliding_window in use"),
    (llama(model_type="qwen2", use_mrope=True), "use_mrope: True is not supported"),
    ({"model_type": "gpt_neo", "num_layers": 2, "attention_types": [["global"]]}, "attention_types is written as"),
    ({"model_type": "gpt_neo", "num_layers": 2, "attention_types": [[["dense"], 2]]}, "attention_types is written as"),
    (
        {"model_type": "gpt_neo", "num_layers": 2, "attention_types": [[["global"], 10**9]]},
        "attention_types name 3 layers, num_layers is 2",
    ),
    ({"model_type": "gpt2", "add_cross_attention": True}, "add_cross_attention: True is not supported"),
    ({"model_type": "openai-gpt", "afn": "gelu_new"}, "afn: 'gelu_new' is not one of 'gelu', 'relu'"),
]


@pytest.mark.parametrize("values, words", REFUSED)
def test_refused(values, words):
    with pytest.raises(CheckpointError) as e:
        read(values)
    assert words in str(e.value) and "config.json" in str(e.value)


def test_relatives_read_like_documentation():
    llama, mistral = jorip.recipe("llama-2-7b"), jorip.recipe("mistral-7b")
    assert "layer.mixer.mechanism: full -> local" in diff(llama, mistral)
    assert "layer.mixer.mechanism.window: - -> 4096" in diff(llama, mistral)
    qwen = diff(jorip.recipe("qwen2.5-7b"), jorip.recipe("qwen3-8b"))
    assert "layer.mixer.qk_norm: None -> rms_norm" in qwen and "layer.mixer.bias: True -> False" in qwen


def test_what_no_family_has_is_not_written():
    spec = jorip.recipe("llama-2-7b").override({"position": "sinusoidal"})
    with pytest.raises(CheckpointError, match="position: rotary there, sinusoidal here"):
        family("llama").write(spec)
    narrow = jorip.recipe("llama-2-7b").override({"d_model": 4100, "n_heads": 8, "head_dim": 32})
    with pytest.raises(CheckpointError, match="hidden_size must be a multiple of num_attention_heads"):
        family("llama").write(narrow)
