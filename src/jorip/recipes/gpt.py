"""GPT (Radford et al. 2018): the post-norm decoder that came first. GPT-2's sizes, no norm after the last layer."""

from __future__ import annotations

from dataclasses import replace

from jorip.architectures.decoder import Decoder
from jorip.blocks.base import Standard
from jorip.blocks.post_norm import PostNorm
from jorip.core.weights import Ignored, Rules
from jorip.recipes.family import At
from jorip.recipes.gpt2 import FAMILY as GPT2
from jorip.recipes.gpt2 import FIELDS, adjust, conv1d_rules, describe, gpt2, head_rules, heads

_ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu", "silu": "swish", "swish": "swish"}


def gpt() -> Decoder:
    """117 M parameters."""
    spec = gpt2(vocab_size=40478, max_len=512)
    assert isinstance(spec.layer, Standard)
    block = PostNorm(mixer=spec.layer.mixer, feed_forward=spec.layer.feed_forward, dropout=0.1)
    return spec.override({"layer": block, "norm": None})


def _rules(spec: Decoder) -> Rules:
    table = {
        "tokens_embed": "embedding.tokens",
        "positions_embed": "position",
        "position_ids": Ignored("0, 1, 2 ..., stored by old versions"),
        **conv1d_rules(spec),
    }
    return Rules(table, prefix="transformer.", heads=head_rules(spec, "tokens_embed"))


GPT = replace(
    GPT2,
    model_type="openai-gpt",
    base=gpt,
    fields=FIELDS
    | {
        "vocab_size": At("vocab_size", 40478),
        "n_positions": At("max_len", 512),
        "afn": At("layer.feed_forward.activation", "gelu", _ACTIVATIONS),
        "layer_norm_epsilon": At("layer.norm.eps", 1e-5),
    },
    heads=heads("OpenAIGPT", rows=False),
    rules=_rules,
    adjust=adjust,
    describe=describe,
    quirks=(
        "`afn: gelu` is the tanh form in this family.",
        "transformers hides later positions by a score of -10000, which is as good as hiding them.",
    ),
)
