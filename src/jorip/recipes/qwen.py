"""Qwen2 (Yang et al. 2024, 2407.10671; 2.5: 2412.15115) and Qwen3 (2025, 2505.09388), derived from Llama.

Qwen2 has biases in queries, keys and values, and may give its upper layers a window. Qwen3 has none of these biases,
norms every head's queries and keys instead, and is free in the heads' width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jorip.architectures.decoder import Decoder
from jorip.core.errors import CheckpointError
from jorip.parts.norm.rms_norm import RmsNorm
from jorip.parts.position.rotary import Rotary
from jorip.recipes.family import At, Config, Only
from jorip.recipes.gpt2 import heads
from jorip.recipes.llama import FAMILY as LLAMA
from jorip.recipes.llama import FIELDS, adjust, describe, llama
from jorip.recipes.windows import mixed, windows_of

_POSITION = Rotary(base=1e6, rounded=True)
_KINDS = ("full_attention", "sliding_attention")


def qwen2(
    vocab_size: int = 151936, max_len: int = 32768, d_model: int = 896, d_ff: int = 4864, n_layers: int = 24,
    n_heads: int = 14, n_kv_heads: int = 2, tied: bool = True,
) -> Decoder:  # fmt: skip
    """Qwen2.5 0.5B."""
    spec = llama(
        vocab_size, max_len, d_model, d_ff, n_layers, n_heads, n_kv_heads, eps=1e-6, tied=tied, position=_POSITION
    )
    return spec.override({"layer.mixer.bias": True, "layer.mixer.out_bias": False})


def qwen25_7b() -> Decoder:
    """Qwen2.5 7B."""
    return qwen2(152064, 131072, 3584, 18944, 28, 28, 4, tied=False)


def qwen3(
    vocab_size: int = 151936, max_len: int = 40960, d_model: int = 1024, d_ff: int = 3072, n_layers: int = 28,
    n_heads: int = 16, n_kv_heads: int = 8, tied: bool = True,
) -> Decoder:  # fmt: skip
    """Qwen3 0.6B: heads of 128, whatever the width."""
    spec = llama(
        vocab_size, max_len, d_model, d_ff, n_layers, n_heads, n_kv_heads, 128, 1e-6, tied=tied, position=_POSITION
    )
    return spec.override({"layer.mixer.qk_norm": RmsNorm(eps=1e-6)})


def qwen3_8b() -> Decoder:
    """Qwen3 8B."""
    return qwen3(d_model=4096, d_ff=12288, n_layers=36, n_heads=32, tied=False).override({"head_dim": None})


def _adjust(spec: Decoder, config: Config) -> Decoder:
    uses, window = config.take("use_sliding_window", False), config.take("sliding_window", 4096)
    window = window if uses else None
    first, kinds = config.take("max_window_layers", 28), config.take("layer_types", None)
    if kinds is None:
        kinds = [_KINDS[window is not None and i >= first] for i in range(spec.n_layers)]
    if not isinstance(kinds, list) or len(kinds) != spec.n_layers or set(kinds) - set(_KINDS):
        raise CheckpointError(
            f"{config.where}: layer_types must name {' or '.join(_KINDS)} for each of {spec.n_layers} layers, "
            f"found {kinds!r}"
        )
    if window is None and _KINDS[1] in kinds:
        raise CheckpointError(f"{config.where}: layer_types has {_KINDS[1]}, but there is no sliding_window in use")
    windows = [window if kind == _KINDS[1] else None for kind in kinds]
    return adjust(spec, config).override({"layer": mixed(spec.layer, windows)})


def _describe(spec: Any) -> dict[str, Any]:
    fields, windows = describe(spec), windows_of(spec)
    window = next((w for w in windows if w is not None), None)
    return fields | {
        "use_sliding_window": window is not None,
        "sliding_window": window,
        "max_window_layers": next((i for i, w in enumerate(windows) if w is not None), spec.n_layers),
        "layer_types": [_KINDS[w is not None] for w in windows],
    }


_FIELDS = FIELDS | {
    "vocab_size": At("vocab_size", 151936),
    "intermediate_size": At("layer.feed_forward.d_ff", 22016),
    "max_position_embeddings": At("max_len", 32768),
    "num_key_value_heads": At("n_kv_heads", 32),
}

QWEN2 = replace(
    LLAMA,
    model_type="qwen2",
    base=qwen2,
    fields=_FIELDS | {"use_mrope": Only(False, None)},
    heads=heads("Qwen2", "ForCausalLM"),
    adjust=_adjust,
    describe=_describe,
)

QWEN3 = replace(
    QWEN2,
    model_type="qwen3",
    base=qwen3,
    fields=_FIELDS
    | {
        "head_dim": At("head_dim", 128),
        "attention_bias": At("layer.mixer.bias", False),
        "rms_norm_eps": At("layer.norm.eps norm.eps layer.mixer.qk_norm.eps", 1e-6),
    },
    heads=heads("Qwen3", "ForCausalLM"),
)
