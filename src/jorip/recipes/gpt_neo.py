"""GPT-Neo (Black et al. 2021): GPT-2 with the layer pattern of GPT-3 (Brown et al. 2020, 2005.14165), where layers that
see everything alternate with layers that see a window."""

from __future__ import annotations

from typing import Any

from jorip.architectures.decoder import Decoder
from jorip.core.errors import CheckpointError
from jorip.core.weights import Ignored, Rules
from jorip.parts.attention.full import Full
from jorip.parts.mixer.multi_head import MultiHead
from jorip.recipes.family import At, Config, Family
from jorip.recipes.gpt2 import ACTIVATIONS, SUMMARY, TAGGER, adjust, describe, gpt2, head_rules, heads
from jorip.recipes.windows import mixed, windows_of

_DEFAULT = [[["global", "local"], 12]]


def gpt_neo(
    d_model: int = 768, n_layers: int = 12, n_heads: int = 12, window: int = 256, vocab_size: int = 50257,
    max_len: int = 2048,
) -> Decoder:  # fmt: skip
    """125 M parameters; 1.3B is 2048 wide with 24 layers, 2.7B 2560 with 32. Scores are not scaled."""
    spec = gpt2(vocab_size, max_len, d_model, n_layers, n_heads).override(
        {
            "layer.mixer": MultiHead(mechanism=Full(scale=1.0), bias=False, out_bias=True),
            "layer.dropout": 0.0,
            "embedding.dropout": 0.0,
        }
    )
    return spec.override({"layer": mixed(spec.layer, [(None, window)[i % 2] for i in range(n_layers)])})


def b1_3() -> Decoder:
    """1.3 G parameters."""
    return gpt_neo(2048, 24, 16)


def b2_7() -> Decoder:
    """2.7 G parameters."""
    return gpt_neo(2560, 32, 20)


def _adjust(spec: Decoder, config: Config) -> Decoder:
    types, window = config.take("attention_types", None) or _DEFAULT, config.take("window_size", 256)
    kinds = config.take("attention_layers", None)
    try:  # counts may be absurd
        most = spec.n_layers + 1
        kinds = kinds or [kind for pattern, times in types for _ in range(min(times, most)) for kind in pattern]
        windows = [{"global": None, "local": window}[kind] for kind in kinds]
    except (TypeError, ValueError, KeyError):
        raise CheckpointError(
            f"{config.where}: attention_types is written as [[['global', 'local'], 6]], found {types!r}"
        ) from None
    if len(windows) != spec.n_layers:
        raise CheckpointError(
            f"{config.where}: attention_types name {len(windows)} layers, num_layers is {spec.n_layers}"
        )
    spec = spec.override({"layer": mixed(spec.layer.of(0), windows)})
    return adjust(spec, config, "intermediate_size")


def _describe(spec: Any) -> dict[str, Any]:
    fields, windows = describe(spec, "intermediate_size"), windows_of(spec)
    kinds = ["global" if w is None else "local" for w in windows]
    return fields | {
        "attention_types": [[kinds, 1]],
        "window_size": next((w for w in windows if w is not None), 256),
    }


def _rules(spec: Decoder) -> Rules:
    theirs, ours = "h.{layer}.", "layers.{layer}."
    attention = theirs + "attn.attention."
    table: dict[str, Any] = {
        "wte": "embedding.tokens",
        "wpe": "position",
        theirs + "ln_1": ours + "norms.mixer",
        theirs + "ln_2": ours + "norms.feed_forward",
        attention + "out_proj": ours + "mixer.out",
        attention + "bias": Ignored("the mask, stored by old versions"),
        attention + "masked_bias": Ignored("the number for what is hidden, stored by old versions"),
        theirs + "mlp.c_fc": ours + "feed_forward.up",
        theirs + "mlp.c_proj": ours + "feed_forward.down",
        "ln_f": "norm",
    }
    table |= {attention + f"{n}_proj": ours + f"mixer.{n}" for n in "qkv"}
    return Rules(table, prefix="transformer.", heads=head_rules(spec))


FAMILY = Family(
    model_type="gpt_neo",
    base=gpt_neo,
    fields={
        "vocab_size": At("vocab_size", 50257),
        "max_position_embeddings": At("max_len", 2048),
        "hidden_size": At("d_model", 2048),
        "num_layers": At("n_layers", 24),
        "num_heads": At("n_heads", 16),
        "activation_function": At("layer.feed_forward.activation", "gelu_new", ACTIVATIONS),
        "resid_dropout": At("layer.dropout", 0.0),
        "embed_dropout": At("embedding.dropout", 0.0),
        "attention_dropout": At("layer.mixer.mechanism.dropout", 0.0),
        "layer_norm_epsilon": At("layer.norm.eps norm.eps", 1e-5),
        **SUMMARY,
        **TAGGER,
    },
    heads=heads("GPTNeo", "ForCausalLM"),
    rules=_rules,
    adjust=_adjust,
    describe=_describe,
    quirks=("transformers computes the scores in float32 whatever the model's dtype; here they have the model's.",),
)
