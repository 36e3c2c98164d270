"""BART (Lewis et al. 2019, 1910.13461): a post-norm encoder-decoder with learned positions, normed embeddings and GELU,
trained to undo noise. One token matrix for both sides and the readout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from jorip.architectures.base import Architecture
from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.blocks.post_norm import PostNorm
from jorip.core.errors import CheckpointError
from jorip.core.init import Normal
from jorip.core.weights import Ignored, Rename, Reshaped, Rules, Tied
from jorip.parts.attention.full import Full
from jorip.parts.embedding.tokens import Tokens
from jorip.parts.feedforward.dense import Dense
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.norm.layer_norm import LayerNorm
from jorip.parts.position.learned import Learned
from jorip.parts.readout.classifier import Classifier
from jorip.parts.readout.language_model import LanguageModel
from jorip.parts.readout.spans import Spans
from jorip.recipes.family import At, Config, Family, Fields, Unused
from jorip.recipes.gpt2 import ACTIVATIONS

SIDES = ("encoder", "decoder")
BIAS = "decoder.readout.out.bias"


def bart(vocab_size: int = 50265, d_model: int = 768, d_ff: int = 3072, n_heads: int = 12, n_layers: int = 6,
         max_len: int = 1024, dropout: float = 0.1) -> EncoderDecoder:  # fmt: skip
    """139 M parameters (bart-base)."""
    attention = MultiHead(mechanism=Full(dropout=dropout))
    layer = PostNorm(
        mixer=attention, cross=attention, feed_forward=Dense(d_ff=d_ff, activation="gelu", dropout=dropout),
        dropout=dropout,
    )  # fmt: skip
    stack: dict[str, Any] = {
        "vocab_size": vocab_size, "d_model": d_model, "n_heads": n_heads, "n_layers": n_layers, "max_len": max_len,
        "embedding": Tokens(norm=LayerNorm(), dropout=dropout), "position": Learned(offset=2), "layer": layer,
        "norm": None,
    }  # fmt: skip
    decoder = Decoder(**stack, readout=LanguageModel(bias=True))
    return EncoderDecoder(encoder=Encoder(**stack), decoder=decoder, share="embeddings", init=Normal(std=0.02))


def large(vocab_size: int = 50265) -> EncoderDecoder:
    """406 M parameters (bart-large)."""
    return bart(vocab_size, d_model=1024, d_ff=4096, n_heads=16, n_layers=12)


def both(*paths: str) -> str:
    """The same paths in both stacks."""
    return " ".join(f"{side}.{p}" for side in SIDES for p in paths)


def _side(side: str) -> Fields:
    """The fields of one stack."""
    return {
        f"{side}_layers": At(f"{side}.n_layers", 12),
        f"{side}_ffn_dim": At(f"{side}.layer.feed_forward.d_ff", 4096),
        f"{side}_attention_heads": At(f"{side}.n_heads", 16),
        f"{side}_layerdrop": Unused(),
    }


FIELDS: Fields = {
    "vocab_size": At(both("vocab_size"), 50265),
    "d_model": At(both("d_model"), 1024),
    "max_position_embeddings": At(both("max_len"), 1024),
    **_side("encoder"),
    **_side("decoder"),
    "activation_function": At(both("layer.feed_forward.activation"), "gelu", ACTIVATIONS),
    "dropout": At(both("embedding.dropout", "layer.dropout"), 0.1),
    "attention_dropout": At(both("layer.mixer.mechanism.dropout", "layer.cross.mechanism.dropout"), 0.0),
    "activation_dropout": At(both("layer.feed_forward.dropout"), 0.0),
    "scale_embedding": At(both("embedding.scale"), False, {False: "none", True: "sqrt"}),
    **dict.fromkeys(("classifier_dropout", "classif_dropout", "force_bos_token_to_be_generated"), Unused()),
}
# Fields of its first versions: what every model that was published with them says.
FIRST = dict.fromkeys(
    ("add_bias_logits", "add_final_layer_norm", "normalize_before", "static_position_embeddings"), False
)
FIRST |= {"do_blenderbot_90_layernorm": False, "normalize_embedding": True, "extra_pos_embeddings": 2}
# Second names of fields, which must not say something else.
ALIASES = {
    "hidden_size": "d_model", "num_hidden_layers": "encoder_layers", "num_attention_heads": "encoder_attention_heads",
}  # fmt: skip


def _adjust(spec: Any, config: Config) -> Architecture:
    for name, value in FIRST.items():
        if config.values.get(name, value) != value:
            raise CheckpointError(f"{config.where}: {name}: {config.take(name)!r} is not supported, {value!r} is")
    config.taken |= set(FIRST)
    for name, field in ALIASES.items():
        if (value := config.take(name, None)) not in (None, config.values.get(field)):
            raise CheckpointError(f"{config.where}: {name} is {value!r}, but {field} is {config.values.get(field)!r}")
    changes: dict[str, Any] = {"share": "embeddings" if config.take("tie_word_embeddings", True) else "none"}
    if isinstance(spec.decoder.readout, LanguageModel):
        changes["decoder.readout.tied"] = changes["share"] == "embeddings"
    elif spec.decoder.readout is not None:
        changes["start"] = config.take("decoder_start_token_id", 2)
    return spec.override(changes)


def _describe(spec: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"tie_word_embeddings": spec.share == "embeddings"}
    if isinstance(spec.decoder.readout, Classifier):
        fields["classifier_dropout"] = spec.decoder.readout.dropout
    return fields | ({} if spec.start is None else {"decoder_start_token_id": spec.start})


class Biased(Rules):
    """A file without `final_logits_bias` has one of zeros, as transformers takes it."""

    def load(self, theirs, expected, account=None, own=False) -> dict[str, Tensor]:
        if "final_logits_bias" not in self.bare or "final_logits_bias" in theirs:
            return super().load(theirs, expected, account, own)
        found = super().load(theirs, {k: v for k, v in expected.items() if k != BIAS}, account, own)
        return found | {BIAS: found["encoder.embedding.tokens.weight"].new_zeros(expected[BIAS].shape)}


class Apart(Biased):
    """Of a model that ties nothing. Its `shared` is there, and nothing reads it: a new model writes a copy of the
    encoder's table. In files of old versions it is the table of both sides, which untied the readout only."""

    def stripped(self, keys: Iterable[str]) -> dict[str, str]:
        found = super().stripped(keys)
        for name in (f"{side}.embed_tokens.weight" for side in SIDES if "shared.weight" in found):
            found.setdefault(name, found["shared.weight"])
        return found

    def save(self, ours: Mapping[str, Tensor], prefixed: bool = True) -> dict[str, Tensor]:
        found = super().save(ours, prefixed)
        prefix = self.prefix if prefixed else ""
        return found | {f"{prefix}shared.weight": found[f"{prefix}encoder.embed_tokens.weight"].clone()}


def stack_rules(side: str) -> dict[str, Any]:
    theirs, ours = f"{side}.layers.{{layer}}.", f"{side}.layers.{{layer}}."
    mixers = {"self_attn": "mixer"} | ({"encoder_attn": "cross"} if side == "decoder" else {})
    table: dict[str, Any] = {
        f"{side}.embed_positions": f"{side}.position",
        f"{side}.layernorm_embedding": f"{side}.embedding.norm",
        f"{theirs}fc1": f"{ours}feed_forward.up",
        f"{theirs}fc2": f"{ours}feed_forward.down",
        f"{theirs}final_layer_norm": f"{ours}norms.feed_forward",
        f"{side}.version": Ignored("a number of the code that wrote it"),
    }
    for name, mixer in mixers.items():
        table[f"{theirs}{name}_layer_norm"] = f"{ours}norms.{mixer}"
        table |= {f"{theirs}{name}.{n}_proj": f"{ours}{mixer}.{n}" for n in ("q", "k", "v", "out")}
    return table


def _rules(spec: EncoderDecoder) -> Rules:
    table, top, readout = stack_rules("encoder") | stack_rules("decoder"), "decoder.readout.", spec.decoder.readout
    heads: dict[str, str | Rename | Tied] = {}
    if isinstance(readout, LanguageModel):
        heads["final_logits_bias"] = Reshaped(BIAS, theirs=(1, -1), mine=(-1,))
        heads["lm_head.weight"] = Tied("shared.weight") if readout.tied else top + "out.weight"
    elif isinstance(readout, Classifier):
        heads = {"classification_head.dense": top + "hidden", "classification_head.out_proj": top + "out"}
    elif isinstance(readout, Spans):
        heads = {"qa_outputs": top + "out"}
    if spec.share == "embeddings":
        copies = {f"{side}.embed_tokens": Tied("shared") for side in SIDES}
        return Biased(table | {"shared": "encoder.embedding.tokens"} | copies, "model.", heads)
    tables = {f"{side}.embed_tokens": f"{side}.embedding.tokens" for side in SIDES}
    return Apart(table | tables | {"shared": Ignored("nothing reads it")}, "model.", heads)


FAMILY = Family(
    model_type="bart",
    base=bart,
    fields=FIELDS,
    heads={
        "BartForConditionalGeneration": lambda c: LanguageModel(bias=True),
        "BartModel": lambda c: None,
        "BartForSequenceClassification": lambda c: Classifier(
            n_classes=c.n_labels if {"id2label", "num_labels"} & set(c.values) else 3,
            pool="last",
            hidden=True,
            dropout=c.take("classifier_dropout", 0.0),
        ),
        "BartForQuestionAnswering": lambda c: Spans(),
    },
    rules=_rules,
    adjust=_adjust,
    describe=_describe,
    readout="decoder.readout",
    quirks=(
        "The readout's bias (final_logits_bias) stays zero in transformers, which does not train it; here it is learnt "
        "like any other.",
        "A class is read from the last token of each text, which must be eos; transformers looks for the last eos.",
        "transformers drops out before the classifier's hidden layer too; here only after it.",
        "encoder_layerdrop and decoder_layerdrop, which leave out whole layers in training, have no effect here.",
        "Where nothing is tied, transformers keeps a third token table that nothing reads: it stays beside the "
        "model and is written back, or written as a copy of the encoder's.",
    ),
)
