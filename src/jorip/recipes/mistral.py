"""Mistral 7B (Jiang et al. 2023, 2310.06825): Llama with grouped queries, where every layer sees a sliding window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jorip.architectures.decoder import Decoder
from jorip.parts.attention.sparse.local import Local
from jorip.recipes.family import At, Config, Family
from jorip.recipes.gpt2 import heads
from jorip.recipes.llama import FAMILY as LLAMA
from jorip.recipes.llama import FIELDS, adjust, describe, llama, rules
from jorip.recipes.windows import mixed, windows_of


def mistral() -> Decoder:
    """Mistral 7B v0.1: a window of 4,096; v0.3 has none, 32,768 tokens and base 1e6."""
    spec = llama(max_len=32768, d_ff=14336, n_kv_heads=8)
    return spec.override({"layer.mixer.mechanism": Local(window=4096)})


def _adjust(spec: Decoder, config: Config) -> Decoder:
    window = config.take("sliding_window", 4096)
    return adjust(spec, config).override({"layer": mixed(spec.layer, [window])})


def _describe(spec: Any) -> dict[str, Any]:
    return describe(spec) | {"sliding_window": (windows_of(spec) or [None])[0]}


MISTRAL: Family = replace(
    LLAMA,
    model_type="mistral",
    base=mistral,
    fields={
        **FIELDS,
        "intermediate_size": At("layer.feed_forward.d_ff", 14336),
        "num_key_value_heads": At("n_kv_heads", 8),
        "max_position_embeddings": At("max_len", 131072),
    },
    heads=heads("Mistral", "ForCausalLM"),
    rules=lambda spec: rules(spec, "model."),
    adjust=_adjust,
    describe=_describe,
)
