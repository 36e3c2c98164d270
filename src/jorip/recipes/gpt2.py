"""GPT-2 (Radford et al. 2019): a pre-norm decoder with learned positions, tanh GELU and a tied readout."""

from __future__ import annotations

from typing import Any

from jorip.architectures.decoder import Decoder
from jorip.blocks.layers import Each
from jorip.blocks.pre_norm import PreNorm
from jorip.core.init import Normal
from jorip.core.weights import Fused, Ignored, Rules, Tied, Transposed
from jorip.parts.attention.full import Full
from jorip.parts.embedding.tokens import Tokens
from jorip.parts.feedforward.base import Activation
from jorip.parts.feedforward.dense import Dense
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.position.learned import Learned
from jorip.parts.readout.classifier import Classifier
from jorip.parts.readout.language_model import LanguageModel
from jorip.parts.readout.spans import Spans
from jorip.parts.readout.tagger import Tagger
from jorip.recipes.family import At, Config, Family, Head, Only, Unused, get

ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_python_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh", "gelu_accurate": "gelu_tanh", "gelu": "gelu", "gelu_python": "gelu", "relu": "relu",
    "silu": "swish", "swish": "swish", "sigmoid": "sigmoid", "linear": "identity",
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


def adjust(spec: Decoder, config: Config, width: str = "n_inner") -> Decoder:
    """What GPT-1, GPT-2 and GPT-Neo all leave to code: the inner width, tied or not."""
    inner = config.take(width, None) or 4 * spec.d_model
    tied = config.take("tie_word_embeddings", True)
    changes = {"readout.tied": bool(tied)} if isinstance(spec.readout, LanguageModel) else {}
    return spec.override({"layer.feed_forward.d_ff": inner} | changes)


def describe(spec: Any, width: str = "n_inner") -> dict[str, Any]:
    """The inverse of `adjust`."""
    return {
        width: get(spec, "layer.feed_forward.d_ff"),
        "tie_word_embeddings": getattr(spec.readout, "tied", True),
    } | tagger_fields(spec)


def _adjust(spec: Decoder, config: Config) -> Decoder:
    scaled, by_layer = config.take("scale_attn_weights", True), config.take("scale_attn_by_inverse_layer_idx", False)
    spec = adjust(spec, config)
    scale = None if scaled else 1.0
    if not by_layer or spec.n_layers < 2:
        return spec.override({"layer.mixer.mechanism.scale": scale})
    scale = scale or (spec.d_model // spec.n_heads) ** -0.5
    blocks = [spec.layer.override({"mixer.mechanism.scale": scale / (i + 1)}) for i in range(spec.n_layers)]
    return spec.override({"layer": Each(blocks=tuple(blocks))})


def _describe(spec: Any) -> dict[str, Any]:
    fields = describe(spec)
    scales = [get(spec.layer.of(i), "mixer.mechanism.scale") for i in range(spec.n_layers)] or [None]
    return fields | {
        "scale_attn_weights": scales[0] != 1.0,
        "scale_attn_by_inverse_layer_idx": scales[-1] != scales[0],
    }


def head_rules(spec: Decoder, embedding: str = "wte") -> dict[str, Any]:
    """What their classes call the readout."""
    match spec.readout:
        case LanguageModel(tied=tied):
            return {"lm_head": Tied(embedding) if tied else "readout.out"}
        case Classifier():
            return {"score": "readout.out"}
        case Tagger():
            return {"classifier": "readout.out"}
        case Spans():
            return {"qa_outputs": "readout.out"}
    return {}


def conv1d_rules(spec: Decoder) -> dict[str, Any]:
    """Of one layer: matrices are stored transposed, the three projections in one."""
    theirs, ours = "h.{layer}.", "layers.{layer}."
    three = [ours + f"mixer.{n}" for n in "qkv"]
    return {
        theirs + "attn.c_attn": Fused(*three, sizes=(spec.d_model,) * 3, transposed=True),
        theirs + "attn.c_proj": Transposed(ours + "mixer.out"),
        theirs + "mlp.c_fc": Transposed(ours + "feed_forward.up"),
        theirs + "mlp.c_proj": Transposed(ours + "feed_forward.down"),
        theirs + "ln_1": ours + "norms.mixer",
        theirs + "ln_2": ours + "norms.feed_forward",
        theirs + "attn.bias": Ignored("the causal mask, stored by old versions"),
        theirs + "attn.masked_bias": Ignored("the number for what is hidden, stored by old versions"),
    }


def _rules(spec: Decoder) -> Rules:
    table = {"wte": "embedding.tokens", "wpe": "position", **conv1d_rules(spec), "ln_f": "norm"}
    return Rules(table, prefix="transformer.", heads=head_rules(spec))


def heads(name: str, lm: str = "LMHeadModel", rows: bool = True) -> dict[str, Head]:
    """The classes of a family called `name`; rows: it has heads that say something of every token."""
    found: dict[str, Head] = {
        f"{name}{lm}": lambda c: LanguageModel(),
        f"{name}Model": lambda c: None,
        f"{name}ForSequenceClassification": lambda c: Classifier(n_classes=c.n_labels, pool="last", bias=False),
    }
    more: dict[str, Head] = {f"{name}ForTokenClassification": tagger, f"{name}ForQuestionAnswering": lambda c: Spans()}
    return found | (more if rows else {})


def tagger(config: Config) -> Tagger:
    """Its dropout is the first of two fields, which neither need be there, or 0.1."""
    found = [config.take(f"{name}_dropout", None) for name in ("classifier", "hidden")]
    return Tagger(n_classes=config.n_labels, dropout=next((p for p in found if p is not None), 0.1))


def tagger_fields(spec: Any) -> dict[str, Any]:
    return {"classifier_dropout": spec.readout.dropout} if isinstance(spec.readout, Tagger) else {}


TAGGER = dict.fromkeys(("classifier_dropout", "hidden_dropout"), Unused())  # of one head; others may carry them
SUMMARY = {  # of the double-heads models, which are not read
    f"summary_{name}": Unused() for name in ("type", "use_proj", "activation", "proj_to_labels", "first_dropout")
}
FIELDS = {
    "vocab_size": At("vocab_size", 50257),
    "n_positions": At("max_len", 1024),
    "n_embd": At("d_model", 768),
    "n_layer": At("n_layers", 12),
    "n_head": At("n_heads", 12),
    "resid_pdrop": At("layer.dropout", 0.1),
    "embd_pdrop": At("embedding.dropout", 0.1),
    "attn_pdrop": At("layer.mixer.mechanism.dropout", 0.1),
    **dict.fromkeys(("n_ctx", "n_special", "predict_special_tokens"), Unused()),
    **SUMMARY,
    **TAGGER,
}

FAMILY = Family(
    model_type="gpt2",
    base=gpt2,
    fields=FIELDS
    | {
        "activation_function": At("layer.feed_forward.activation", "gelu_new", ACTIVATIONS),
        "layer_norm_epsilon": At("layer.norm.eps norm.eps", 1e-5),
        "reorder_and_upcast_attn": Unused(False),
        "add_cross_attention": Only(False),
    },
    heads=heads("GPT2"),
    rules=_rules,
    adjust=_adjust,
    describe=_describe,
)
