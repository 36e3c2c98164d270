"""Llama (Touvron et al. 2023, 2302.13971 and 2307.09288; Dubey et al. 2024, 2407.21783): a pre-norm decoder with
RMSNorm, rotary positions, SwiGLU, grouped queries and no biases. Mistral and Qwen are derived from it."""

from __future__ import annotations

from typing import Any

from jorip.architectures.decoder import Decoder
from jorip.blocks.pre_norm import PreNorm
from jorip.core.errors import CheckpointError
from jorip.core.init import Normal
from jorip.core.weights import Ignored, Rules
from jorip.parts.attention.full import Full
from jorip.parts.feedforward.gated import Gated
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.norm.rms_norm import RmsNorm
from jorip.parts.position.rotary import Rotary
from jorip.parts.position.scaling import Dynamic, Llama3
from jorip.parts.readout.language_model import LanguageModel
from jorip.parts.readout.spans import Spans
from jorip.parts.readout.tagger import Tagger
from jorip.recipes.family import At, Config, Family, Only, Unused, get
from jorip.recipes.gpt2 import ACTIVATIONS, TAGGER, head_rules, heads, tagger_fields
from jorip.recipes.rope import read_rotary, write_rotary


def llama(
    vocab_size: int = 32000, max_len: int = 4096, d_model: int = 4096, d_ff: int = 11008, n_layers: int = 32,
    n_heads: int = 32, n_kv_heads: int | None = None, head_dim: int | None = None, eps: float = 1e-5,
    tied: bool = False, position: Rotary | None = None,
) -> Decoder:  # fmt: skip
    """Llama 2 7B. head_dim None = d_model / n_heads."""
    layer = PreNorm(mixer=MultiHead(mechanism=Full(), bias=False), feed_forward=Gated(d_ff=d_ff), norm=RmsNorm(eps=eps))
    return Decoder(
        vocab_size=vocab_size, d_model=d_model, n_layers=n_layers, n_heads=n_heads, n_kv_heads=n_kv_heads,
        head_dim=head_dim, max_len=max_len, position=position or Rotary(rounded=True), layer=layer,
        norm=RmsNorm(eps=eps), readout=LanguageModel(tied=tied), init=Normal(std=0.02),
    )  # fmt: skip


def llama_31_8b() -> Decoder:
    """Llama 3.1 8B: 128,256 tokens, 131,072 positions."""
    position = Rotary(base=500000.0, rounded=True, scaling=Llama3(factor=8.0))
    return llama(128256, 131072, d_ff=14336, n_kv_heads=8, position=position)


def llama_32_1b() -> Decoder:
    """Llama 3.2 1B: 16 layers, tied."""
    position = Rotary(base=500000.0, rounded=True, scaling=Llama3(factor=32.0))
    return llama(128256, 131072, 2048, 8192, 16, n_kv_heads=8, tied=True, position=position)


def adjust(spec: Decoder, config: Config) -> Decoder:
    """What no table can say: numbers that repeat others, positions, tied or not."""
    if spec.max_len is None or get(spec, "layer.feed_forward.d_ff") is None:
        raise CheckpointError(f"{config.where}: max_position_embeddings and intermediate_size must be numbers")
    position = read_rotary(config, spec.max_len)
    changes: dict[str, Any] = {"position": position}
    if spec.n_kv_heads == spec.n_heads:
        changes["n_kv_heads"] = None
    if spec.head_dim is not None and spec.head_dim * spec.n_heads == spec.d_model:
        changes["head_dim"] = None
    if isinstance(position.scaling, Dynamic):  # these are there for sequences longer than max_position_embeddings
        changes["max_len"] = None
    tied = config.take("tie_word_embeddings", False)
    if isinstance(spec.readout, LanguageModel):
        changes["readout.tied"] = bool(tied)
    return spec.override(changes)


def adjust_llama(spec: Decoder, config: Config) -> Decoder:
    if spec.d_model % spec.n_heads:
        raise CheckpointError(
            f"{config.where}: hidden_size must be a multiple of num_attention_heads, found {spec.d_model} and "
            f"{spec.n_heads}"
        )
    return adjust(spec, config)


def describe(spec: Any) -> dict[str, Any]:
    """The inverse of `adjust`."""
    scaling = getattr(spec.position, "scaling", None)
    return write_rotary(spec.position) | {
        "num_key_value_heads": spec.n_kv_heads or spec.n_heads,
        "head_dim": spec.head_dim or spec.d_model // spec.n_heads,
        "max_position_embeddings": scaling.original if isinstance(scaling, Dynamic) else spec.max_len,
        "tie_word_embeddings": getattr(spec.readout, "tied", False),
        **tagger_fields(spec),
    }


def rules(spec: Decoder, spans: str = "transformer.") -> Rules:
    """spans: what the class for question answering puts before its keys."""
    layer = "layers.{layer}."
    table: dict[str, Any] = {
        "embed_tokens": "embedding.tokens",
        layer + "input_layernorm": layer + "norms.mixer",
        layer + "post_attention_layernorm": layer + "norms.feed_forward",
        layer + "self_attn.o_proj": layer + "mixer.out",
        layer + "self_attn.rotary_emb.inv_freq": Ignored("the rotary frequencies, stored by old versions"),
        "norm": "norm",
    }
    table |= {layer + f"self_attn.{n}_proj": layer + f"mixer.{n}" for n in "qkv"}
    table |= {layer + f"self_attn.{n}_norm": layer + f"mixer.norms.{n}" for n in "qk"}
    table |= {layer + f"mlp.{n}_proj": layer + f"feed_forward.{n}" for n in ("gate", "up", "down")}
    on_top = head_rules(spec, "embed_tokens")
    if isinstance(spec.readout, Tagger):
        on_top = {"score": "readout.out"}
    return Rules(table, prefix=spans if isinstance(spec.readout, Spans) else "model.", heads=on_top)


FIELDS: dict[str, Any] = {
    "vocab_size": At("vocab_size", 32000),
    "max_position_embeddings": At("max_len", 2048),
    "hidden_size": At("d_model", 4096),
    "intermediate_size": At("layer.feed_forward.d_ff", 11008),
    "num_hidden_layers": At("n_layers", 32),
    "num_attention_heads": At("n_heads", 32),
    "num_key_value_heads": At("n_kv_heads", None),
    "head_dim": At("head_dim", None),
    "hidden_act": At("layer.feed_forward.activation", "silu", ACTIVATIONS),
    "rms_norm_eps": At("layer.norm.eps norm.eps", 1e-6),
    "attention_dropout": At("layer.mixer.mechanism.dropout", 0.0),
    **TAGGER,
}

FAMILY = Family(
    model_type="llama",
    base=llama,
    fields=FIELDS
    | {
        "attention_bias": At("layer.mixer.bias", False),
        "mlp_bias": At("layer.feed_forward.bias", False),
        "pretraining_tp": Only(1, None),  # above 1 the products are split, which changes their rounding only
        "rope_interleaved": Only(False, None),
        **dict.fromkeys(("max_sequence_length", "is_llama_config", "transformers.js_config"), Unused()),
    },
    heads=heads("Llama", "ForCausalLM"),
    rules=rules,
    adjust=adjust_llama,
    describe=describe,
    quirks=(
        "The frequencies of rotary positions are computed in float32 (Rotary.rounded).",
        "With dynamic frequencies transformers goes on with those of the longest sequence so far until a shorter one "
        "than max_position_embeddings comes; here every call starts anew.",
    ),
)
