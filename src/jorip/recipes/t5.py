"""T5 (Raffel et al. 2019, 1910.10683): an encoder-decoder, pre-norm by RMS, without biases and without 1/sqrt(d), with
a relative position bias per stack. v1.1 has a gated GELU and a readout of its own; flan-t5 has v1.1's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jorip.architectures.base import Architecture
from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.blocks.pre_norm import PreNorm
from jorip.core.errors import CheckpointError
from jorip.core.init import Normal
from jorip.core.weights import Ignored, Rules, Tied
from jorip.parts.attention.full import Full
from jorip.parts.embedding.tokens import Tokens
from jorip.parts.feedforward.base import FeedForward
from jorip.parts.feedforward.dense import Dense
from jorip.parts.feedforward.gated import Gated
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.norm.rms_norm import RmsNorm
from jorip.parts.position.relative_bias import RelativeBias
from jorip.parts.readout.classifier import Classifier
from jorip.parts.readout.language_model import LanguageModel
from jorip.parts.readout.spans import Spans
from jorip.parts.readout.tagger import Tagger
from jorip.recipes import gpt2
from jorip.recipes.bart import SIDES, both
from jorip.recipes.family import At, Config, Family, Fields, Unused, get
from jorip.recipes.pair import Pair, lone

ACTIVATIONS = gpt2.ACTIVATIONS | {"sigmoid": "sigmoid", "linear": "identity"}


def t5(vocab_size: int = 32128, d_model: int = 768, n_layers: int = 12, n_heads: int = 12, head_dim: int = 64,
       d_ff: int = 3072) -> EncoderDecoder:  # fmt: skip
    """223 M parameters (t5-base)."""
    attention = MultiHead(mechanism=Full(scale=1.0, dropout=0.1), bias=False)
    layer = PreNorm(
        mixer=attention, cross=attention, feed_forward=Dense(d_ff=d_ff, bias=False, dropout=0.1), norm=RmsNorm(),
        dropout=0.1,
    )  # fmt: skip
    stack: dict[str, Any] = {
        "vocab_size": vocab_size, "d_model": d_model, "n_layers": n_layers, "n_heads": n_heads, "head_dim": head_dim,
        "embedding": Tokens(dropout=0.1), "position": RelativeBias(), "layer": layer, "norm": RmsNorm(),
    }  # fmt: skip
    decoder = Decoder(**stack, readout=LanguageModel(scale="inverse_sqrt"))
    return EncoderDecoder(encoder=Encoder(**stack), decoder=decoder, share="embeddings", init=Normal(std=0.02))


def v1_1(vocab_size: int = 32128, d_model: int = 768, n_layers: int = 12, n_heads: int = 12, head_dim: int = 64,
         d_ff: int = 2048) -> EncoderDecoder:  # fmt: skip
    """248 M parameters (t5-v1_1-base, flan-t5-base): a gated GELU, a readout of its own, no dropout in pre-training."""
    gated = Gated(d_ff=d_ff, activation="gelu_tanh")
    spec = t5(vocab_size, d_model, n_layers, n_heads, head_dim, d_ff).override({"**.dropout": 0.0})
    return spec.override({"**.feed_forward": gated, "decoder.readout": LanguageModel(tied=False)})


def small() -> EncoderDecoder:
    """61 M parameters."""
    return t5(d_model=512, n_layers=6, n_heads=8, d_ff=2048)


def large() -> EncoderDecoder:
    """738 M parameters."""
    return t5(d_model=1024, n_layers=24, n_heads=16, d_ff=4096)


def t5_3b() -> EncoderDecoder:
    """2.9 G parameters."""
    return t5(d_model=1024, n_layers=24, n_heads=32, head_dim=128, d_ff=16384)


def t5_11b() -> EncoderDecoder:
    """11.3 G parameters."""
    return t5(d_model=1024, n_layers=24, n_heads=128, head_dim=128, d_ff=65536)


def v1_1_small() -> EncoderDecoder:
    """77 M parameters."""
    return v1_1(d_model=512, n_layers=8, n_heads=6, d_ff=1024)


def v1_1_large() -> EncoderDecoder:
    """783 M parameters."""
    return v1_1(d_model=1024, n_layers=24, n_heads=16, d_ff=2816)


def v1_1_xl() -> EncoderDecoder:
    """2.8 G parameters."""
    return v1_1(d_model=2048, n_layers=24, n_heads=32, d_ff=5120)


def v1_1_xxl() -> EncoderDecoder:
    """11.1 G parameters."""
    return v1_1(d_model=4096, n_layers=24, n_heads=64, d_ff=10240)


FIELDS: Fields = {
    "vocab_size": At(both("vocab_size"), 32128),
    "d_model": At(both("d_model"), 512),
    "d_kv": At(both("head_dim"), 64),
    "num_layers": At("encoder.n_layers", 6),
    "num_heads": At(both("n_heads"), 8),
    "relative_attention_num_buckets": At(both("position.buckets"), 32),
    "relative_attention_max_distance": At(both("position.max_distance"), 128),
    "layer_norm_epsilon": At(both("norm.eps", "layer.norm.eps"), 1e-6),
    "dropout_rate": At(
        both("embedding.dropout", "layer.dropout", "layer.mixer.mechanism.dropout", "layer.cross.mechanism.dropout"),
        0.1,
    ),
    "classifier_dropout": Unused(),  # the heads that have it read it
    "n_positions": Unused(),  # of the texts it was trained on: nothing limits the length
}


def feed_forward(config: Config) -> FeedForward:
    """`feed_forward_proj` names gate and activation; `is_gated_act` and `dense_act_fn` win where they are written."""
    name = config.take("feed_forward_proj", "relu")
    gate, _, plain = name.rpartition("-") if isinstance(name, str) else ("?", "", "")
    if gate not in ("", "gated"):
        raise CheckpointError(f"{config.where}: feed_forward_proj: {name!r} is neither an activation nor gated-<one>")
    act = config.take("dense_act_fn", "gelu_new" if name == "gated-gelu" else plain)
    if not isinstance(act, str) or act not in ACTIVATIONS:
        known = ", ".join(map(repr, ACTIVATIONS))
        raise CheckpointError(f"{config.where}: feed_forward_proj: {act!r} is not one of {known}")
    fields: dict[str, Any] = {"d_ff": config.take("d_ff", 2048), "activation": ACTIVATIONS[act]}
    fields["dropout"] = config.take("dropout_rate", 0.1)
    return Gated(**fields) if config.take("is_gated_act", bool(gate)) else Dense(**fields, bias=False)


def _adjust(spec: Any, config: Config) -> Architecture:
    tied = config.take("tie_word_embeddings", True) is not False
    scaled = config.take("scale_decoder_outputs", tied)
    if not scaled and "lm_head.weight" in config.keys:
        tied = False  # transformers 5 writes "tied" for v1.1 too, and knows better by the file
    layers = config.take("num_decoder_layers", None)
    if isinstance(spec, Encoder):
        return spec.override({"layer.feed_forward": feed_forward(config)})
    changes: dict[str, Any] = dict.fromkeys(both("layer.feed_forward").split(), feed_forward(config))
    changes["decoder.n_layers"] = spec.encoder.n_layers if layers is None else layers
    if isinstance(spec.decoder.readout, LanguageModel):
        changes["decoder.readout"] = LanguageModel(tied=tied, scale="inverse_sqrt" if scaled else "none")
    elif spec.decoder.readout is not None:
        changes["start"] = config.take("decoder_start_token_id", 0)
    return spec.override(changes)


def _describe(spec: Any) -> dict[str, Any]:
    pair = isinstance(spec, EncoderDecoder)
    encoder, decoder = (spec.encoder, spec.decoder) if pair else (spec, spec)
    feed, readout = get(encoder, "layer.feed_forward"), decoder.readout
    gated = isinstance(feed, Gated)
    act = next(n for n, ours in ACTIVATIONS.items() if ours == feed.activation)
    fields = {
        "d_ff": feed.width(encoder.site()),
        "feed_forward_proj": ("gated-gelu" if act == "gelu_new" else f"gated-{act}") if gated else act,
        "is_gated_act": gated,
        "dense_act_fn": act,
        "num_decoder_layers": decoder.n_layers,
        "tie_word_embeddings": getattr(readout, "tied", True),
        "scale_decoder_outputs": getattr(readout, "scale", "inverse_sqrt") == "inverse_sqrt",
        "classifier_dropout": getattr(readout, "dropout", 0.0),
        "is_encoder_decoder": pair,
    }
    return fields | ({"decoder_start_token_id": spec.start} if pair and spec.start is not None else {})


def stack_rules(side: str, ours: str, feed: Mapping[str, Any]) -> dict[str, Any]:
    """Their names of one stack -> ours, below `ours`. feed: a feed-forward's names below its layer -> ours below ours,
    a string or what makes a rule from ours."""
    theirs, mine = f"{side}.block.{{layer}}.layer.", ours + "layers.{layer}."
    mixers = {"0.SelfAttention": "mixer"} | ({"1.EncDecAttention": "cross"} if side == "decoder" else {})
    table: dict[str, Any] = {
        f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias": ours + "position",
        f"{side}.final_layer_norm": ours + "norm",
    }
    for i, (name, mixer) in enumerate(mixers.items()):
        table |= {f"{theirs}{name}.{a}": f"{mine}{mixer}.{b}" for a, b in zip("qkvo", ("q", "k", "v", "out"))}
        table[f"{theirs}{i}.layer_norm"] = f"{mine}norms.{mixer}"
    last = f"{theirs}{len(mixers)}."
    for name, rule in feed.items():
        table[last + name] = rule(f"{mine}feed_forward.") if callable(rule) else f"{mine}feed_forward.{rule}"
    return table | {f"{last}layer_norm": f"{mine}norms.feed_forward"}


GATED = {"DenseReluDense.wi_0": "gate", "DenseReluDense.wi_1": "up", "DenseReluDense.wo": "down"}
DENSE = {"DenseReluDense.wi": "up", "DenseReluDense.wo": "down"}


def _rules(spec: Any) -> Rules:
    pair = isinstance(spec, EncoderDecoder)
    encoder, top = (spec.encoder, "decoder.readout.") if pair else (spec, "readout.")
    readout = spec.decoder.readout if pair else spec.readout
    feed = GATED if isinstance(get(encoder, "layer.feed_forward"), Gated) else DENSE
    table: dict[str, Any] = {"shared": "encoder.embedding.tokens" if pair else "embedding.tokens"}
    for side in SIDES if pair else SIDES[:1]:
        table |= stack_rules(side, f"{side}." if pair else "", feed) | {f"{side}.embed_tokens": Tied("shared")}
    # the first files have it, but attention to the memory has no positions
    table["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias"] = Ignored("of no use")
    if isinstance(readout, LanguageModel):
        return Rules(table | {"lm_head": Tied("shared") if readout.tied else top + "out"})
    if isinstance(readout, Classifier):
        heads = {"classification_head.dense": top + "hidden", "classification_head.out_proj": top + "out"}
        return Rules(table, prefix="transformer.", heads=heads)
    if isinstance(readout, Tagger):
        return Rules(table, prefix="transformer.", heads={"classifier": top + "out"})
    return Rules(table | ({"qa_outputs": top + "out"} if isinstance(readout, Spans) else {}))


QUIRKS = (
    "transformers drops out once more after each stack's last norm; here that dropout is left out.",
    "The offsets' buckets are computed in float32, as in the original code.",
    "Classes are read from the last token of each text, which must be eos; transformers looks for the last eos.",
    "transformers drops out before the classifier's hidden layer too; here only after it.",
    "transformers ties v1.1 unless the file has an lm_head that differs; here its presence decides.",
)
FAMILY = Pair(
    model_type="t5",
    base=t5,
    fields=FIELDS,
    heads={
        "T5ForConditionalGeneration": lambda c: LanguageModel(),
        "T5Model": lambda c: None,
        "T5ForSequenceClassification": lambda c: Classifier(
            n_classes=c.n_labels, pool="last", hidden=True, dropout=c.take("classifier_dropout", 0.0)
        ),
        "T5ForQuestionAnswering": lambda c: Spans(),
        "T5WithLMHeadModel": lambda c: LanguageModel(),  # the first's old name
    },
    rules=_rules,
    adjust=_adjust,
    describe=_describe,
    readout="decoder.readout",
    quirks=QUIRKS,
    alone=Family(
        model_type="t5",
        base=lambda: t5().encoder,
        fields=lone(FIELDS),
        heads={
            "T5EncoderModel": lambda c: None,
            "T5ForTokenClassification": lambda c: Tagger(
                n_classes=c.n_labels, dropout=c.take("classifier_dropout", 0.0)
            ),
        },
        rules=_rules,
        adjust=_adjust,
        describe=_describe,
    ),
)
