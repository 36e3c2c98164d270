"""GPT-2 (Radford et al. 2019): a pre-norm decoder with learned positions, tanh GELU and a tied readout."""

from __future__ import annotations

from jorip.architectures.decoder import Decoder
from jorip.blocks.pre_norm import PreNorm
from jorip.core.init import Normal
from jorip.core.weights import Fused, Ignored, Rules, Tied, Transposed
from jorip.parts.attention.full import Full
from jorip.parts.embedding.tokens import Tokens
from jorip.parts.feedforward.dense import Dense
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.position.learned import Learned
from jorip.parts.readout.classifier import Classifier
from jorip.parts.readout.language_model import LanguageModel
from jorip.recipes.family import At, Config, Family, Only, Unused, get

ACTIVATIONS = {
    "gelu_new": "gelu_tanh", "gelu": "gelu", "relu": "relu", "silu": "swish", "swish": "swish",
    "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh",
}  # fmt: skip


def gpt2(
    vocab_size: int = 50257, max_len: int = 1024, d_model: int = 768, n_layers: int = 12, n_heads: int = 12
) -> Decoder:
    """124 M parameters; medium is 1024 wide with 24 layers, large 1280 with 36, xl 1600 with 48."""
    layer = PreNorm(
        mixer=MultiHead(mechanism=Full(dropout=0.1)),
        feed_forward=Dense(d_ff=4 * d_model, activation="gelu_tanh"),
        dropout=0.1,
    )
    return Decoder(
        vocab_size=vocab_size, d_model=d_model, n_layers=n_layers, n_heads=n_heads, max_len=max_len, layer=layer,
        embedding=Tokens(dropout=0.1), position=Learned(), init=Normal(std=0.02),
    )  # fmt: skip


def medium() -> Decoder:
    """355 M parameters."""
    return gpt2(d_model=1024, n_layers=24, n_heads=16)


def large() -> Decoder:
    """774 M parameters."""
    return gpt2(d_model=1280, n_layers=36, n_heads=20)


def xl() -> Decoder:
    """1.6 G parameters."""
    return gpt2(d_model=1600, n_layers=48, n_heads=25)


def _adjust(spec: Decoder, config: Config) -> Decoder:
    inner = config.take("n_inner", None) or 4 * spec.d_model
    if config.take("scale_attn_weights", True) is False:
        spec = spec.override({"layer.mixer.mechanism.scale": 1.0})
    tied = config.take("tie_word_embeddings", True)
    if isinstance(spec.readout, LanguageModel) and not tied:
        spec = spec.override({"readout.tied": False})
    return spec.override({"layer.feed_forward.d_ff": inner})


def _describe(spec: Decoder) -> dict[str, object]:
    return {
        "n_inner": get(spec, "layer.feed_forward.d_ff"),
        "scale_attn_weights": get(spec, "layer.mixer.mechanism.scale") is None,
        "tie_word_embeddings": getattr(spec.readout, "tied", True),
    }


def _rules(spec: Decoder) -> Rules:
    layer = "layers.{layer}."
    heads = {
        "lm_head": Tied("wte") if getattr(spec.readout, "tied", False) else "readout.out",
        "score": "readout.out",
    }
    return Rules(
        {
            "wte": "embedding.tokens",
            "wpe": "position",
            "h.{layer}.ln_1": layer + "norms.mixer",
            "h.{layer}.attn.c_attn": Fused(
                *(layer + f"mixer.{n}" for n in "qkv"), sizes=(spec.d_model,) * 3, transposed=True
            ),
            "h.{layer}.attn.c_proj": Transposed(layer + "mixer.out"),
            "h.{layer}.ln_2": layer + "norms.feed_forward",
            "h.{layer}.mlp.c_fc": Transposed(layer + "feed_forward.up"),
            "h.{layer}.mlp.c_proj": Transposed(layer + "feed_forward.down"),
            "h.{layer}.attn.bias": Ignored(),  # the causal mask, stored as a buffer by old versions
            "h.{layer}.attn.masked_bias": Ignored(),
            "ln_f": "norm",
        },
        prefix="transformer.",
        heads={heads_: rule for heads_, rule in heads.items() if heads_ != "score" or _classifies(spec)},
    )


def _classifies(spec: Decoder) -> bool:
    return isinstance(spec.readout, Classifier)


FAMILY = Family(
    model_type="gpt2",
    base=gpt2,
    fields={
        "vocab_size": At("vocab_size", 50257),
        "n_positions": At("max_len", 1024),
        "n_embd": At("d_model", 768),
        "n_layer": At("n_layers", 12),
        "n_head": At("n_heads", 12),
        "activation_function": At("layer.feed_forward.activation", "gelu_new", ACTIVATIONS),
        "resid_pdrop": At("layer.dropout", 0.1),
        "embd_pdrop": At("embedding.dropout", 0.1),
        "attn_pdrop": At("layer.mixer.mechanism.dropout", 0.1),
        "layer_norm_epsilon": At("layer.norm.eps norm.eps", 1e-5),
        "n_ctx": Unused(),
        "scale_attn_by_inverse_layer_idx": Only(False),
        "reorder_and_upcast_attn": Unused(False),
        "add_cross_attention": Only(False),
        **dict.fromkeys(("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"), Unused()),
        "summary_first_dropout": Unused(),
    },
    heads={
        "GPT2LMHeadModel": lambda c: LanguageModel(),
        "GPT2Model": lambda c: None,
        "GPT2ForSequenceClassification": lambda c: Classifier(n_classes=c.n_labels, pool="last", bias=False),
    },
    rules=_rules,
    adjust=_adjust,
    describe=_describe,
)
