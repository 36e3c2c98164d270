"""BERT (Devlin et al. 2018, 1810.04805): a post-norm encoder with learned positions and segments, pre-trained to fill
in masked tokens and to tell whether one text follows another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from jorip.architectures.encoder import Encoder
from jorip.blocks.post_norm import PostNorm
from jorip.core.errors import CheckpointError
from jorip.core.init import Normal
from jorip.core.weights import Ignored, Rules, Tied
from jorip.parts.attention.full import Full
from jorip.parts.embedding.tokens import Tokens
from jorip.parts.feedforward.base import Activation
from jorip.parts.feedforward.dense import Dense
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.norm.layer_norm import LayerNorm
from jorip.parts.position.learned import Learned
from jorip.parts.readout.classifier import Classifier
from jorip.parts.readout.masked_language_model import MaskedLanguageModel
from jorip.parts.readout.next_sentence import NextSentence
from jorip.parts.readout.pooled import Pooled
from jorip.parts.readout.pre_training import PreTraining
from jorip.parts.readout.spans import Spans
from jorip.parts.readout.tagger import Tagger
from jorip.recipes.family import At, Config, Family, Head, Only, Unused
from jorip.recipes.gpt2 import ACTIVATIONS

SEQUENCE = "cls.seq_relationship"
UNUSED_BIAS = "a second bias, not used where nothing is tied"
UNUSED_POOLER = Ignored("the pooler, which this head does not use")
OLD = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # how the first files were written


def bert(
    vocab_size: int = 30522, max_len: int = 512, d_model: int = 768, n_layers: int = 12, n_heads: int = 12
) -> Encoder:
    """110 M parameters, the vocabulary of lower-case English (28996 with case, 119547 multilingual)."""
    norm = LayerNorm(eps=1e-12)
    layer = PostNorm(
        mixer=MultiHead(mechanism=Full(dropout=0.1)),
        feed_forward=Dense(d_ff=4 * d_model, activation="gelu"),
        norm=norm,
        dropout=0.1,
    )
    return Encoder(
        vocab_size=vocab_size, d_model=d_model, n_layers=n_layers, n_heads=n_heads, max_len=max_len, layer=layer,
        embedding=Tokens(segments=2, norm=norm, dropout=0.1), position=Learned(), norm=None, readout=PreTraining(),
        init=Normal(std=0.02, scale_residual=False),
    )  # fmt: skip


def large() -> Encoder:
    """335 M parameters."""
    return bert(d_model=1024, n_layers=24, n_heads=16)


def masked(
    kind: type[MaskedLanguageModel], config: Config, activation: Activation | None = None
) -> MaskedLanguageModel:
    """The masked-token readout that a config means; activation: where it is not the layers'."""
    return kind(
        tied=config.take("tie_word_embeddings", True) is not False,
        activation=activation or ACTIVATIONS[config.take("hidden_act", "gelu")],
        norm=LayerNorm(eps=config.take("layer_norm_eps", 1e-12)),
    )


def last_dropout(config: Config) -> float:
    """Before a decision: as in the layers, unless the config says another."""
    given = config.take("classifier_dropout", None)
    return config.take("hidden_dropout_prob", 0.1) if given is None else given


def spans(config: Config) -> Spans:
    if config.n_labels != 2:
        raise CheckpointError(f"{config.where}: an answer has 2 labels, its start and its end; found {config.n_labels}")
    return Spans()


def pooled(config: Config) -> Pooled | None:
    """transformers' add_pooling_layer=False is only seen by what the file lacks."""
    return Pooled() if not config.keys or any("pooler." in key for key in config.keys) else None


HEADS: dict[str, Head] = {
    "BertForMaskedLM": lambda c: masked(MaskedLanguageModel, c),
    "BertForPreTraining": lambda c: masked(PreTraining, c),
    "BertForNextSentencePrediction": lambda c: NextSentence(),
    "BertForSequenceClassification": lambda c: Classifier(
        n_classes=c.n_labels, pool="first", hidden=True, dropout=last_dropout(c)
    ),
    "BertForTokenClassification": lambda c: Tagger(n_classes=c.n_labels, dropout=last_dropout(c)),
    "BertForQuestionAnswering": spans,
    "BertModel": pooled,
}


def adjust(spec: Encoder, config: Config) -> Encoder:
    config.taken |= {"tie_word_embeddings", "classifier_dropout"}  # the heads that have them have read them
    return spec


def describe(spec: Any) -> dict[str, Any]:
    """What the readout says of a config."""
    return {
        "tie_word_embeddings": getattr(spec.readout, "tied", True),
        "classifier_dropout": getattr(spec.readout, "dropout", None),
    }


def encoder_rules(spec: Encoder) -> dict[str, Any]:
    """Everything below the head."""
    theirs, ours = "encoder.layer.{layer}.", "layers.{layer}."
    return {
        "embeddings.word_embeddings": "embedding.tokens",
        "embeddings.position_embeddings": "position",
        "embeddings.token_type_embeddings": "embedding.segments",
        "embeddings.LayerNorm": "embedding.norm",
        "embeddings.position_ids": Ignored("a buffer: the numbers from 0"),
        "embeddings.token_type_ids": Ignored("a buffer: zeros"),
        theirs + "attention.self.query": ours + "mixer.q",
        theirs + "attention.self.key": ours + "mixer.k",
        theirs + "attention.self.value": ours + "mixer.v",
        theirs + "attention.output.dense": ours + "mixer.out",
        theirs + "attention.output.LayerNorm": ours + "norms.mixer",
        theirs + "intermediate.dense": ours + "feed_forward.up",
        theirs + "output.dense": ours + "feed_forward.down",
        theirs + "output.LayerNorm": ours + "norms.feed_forward",
        "pooler.dense": pooler(spec),
    }


def pooler(spec: Encoder) -> str | Ignored:
    """Where the pooler's layer belongs."""
    if isinstance(spec.readout, PreTraining):
        return "readout.next_sentence.hidden"
    if isinstance(spec.readout, NextSentence | Classifier | Pooled):
        return "readout.hidden"
    return UNUSED_POOLER


def head_rules(spec: Encoder) -> dict[str, Any]:
    """Heads that the file has and the model has not are left: hub files hold both of pre-training's."""
    readout, other = spec.readout, Ignored("a head that this model has not")
    if isinstance(readout, MaskedLanguageModel):
        pairs = "readout.next_sentence.out" if isinstance(readout, PreTraining) else other
        transform = {"dense": "readout.dense", "LayerNorm": "readout.norm"}
        own: dict[str, Any] = {f"cls.predictions.transform.{n}": ours for n, ours in transform.items()}
        return own | decoder_rules(readout, "cls.predictions.decoder", "cls.predictions.bias") | {SEQUENCE: pairs}
    own = {}
    if isinstance(readout, Classifier | Tagger):
        own["classifier"] = "readout.out"
    if isinstance(readout, Spans):
        own["qa_outputs"] = "readout.out"
    parts = ("transform.dense", "transform.LayerNorm", "decoder", "bias")
    own |= {f"cls.predictions.{part}": other for part in parts}
    return own | {SEQUENCE: "readout.out" if isinstance(readout, NextSentence) else other}


def decoder_rules(readout: MaskedLanguageModel, decoder: str, bias: str) -> dict[str, Any]:
    """The output matrix, and its bias, which is there twice: tied, or the decoder's is used and the other is not."""
    if readout.tied:
        return {
            f"{decoder}.weight": Tied("embeddings.word_embeddings.weight"),
            f"{decoder}.bias": Tied(bias),
            bias: "readout.out.bias",
        }
    return {decoder: "readout.out", bias: Ignored(UNUSED_BIAS)}


class TwoBiases(Rules):
    """Writes the bias that an untied head has and does not use as a copy of the one that it uses."""

    def save(self, ours: Mapping[str, Tensor], prefixed: bool = True) -> dict[str, Tensor]:
        found = super().save(ours, prefixed)
        unused = [t.text for t, rule in self.rules if isinstance(rule, Ignored) and rule.why == UNUSED_BIAS]
        used = [t.text for t, rule in self.rules if getattr(rule, "ours", ()) == ("readout.out",)]
        return found | {name: found[f"{used[0]}.bias"].clone() for name in unused}


def rules(spec: Encoder) -> Rules:
    return TwoBiases(encoder_rules(spec), prefix="bert.", heads=head_rules(spec), old=OLD)


FIELDS = {
    "vocab_size": At("vocab_size", 30522),
    "hidden_size": At("d_model", 768),
    "num_hidden_layers": At("n_layers", 12),
    "num_attention_heads": At("n_heads", 12),
    "intermediate_size": At("layer.feed_forward.d_ff", 3072),
    "hidden_act": At("layer.feed_forward.activation", "gelu", ACTIVATIONS),
    "hidden_dropout_prob": At("layer.dropout embedding.dropout", 0.1),
    "attention_probs_dropout_prob": At("layer.mixer.mechanism.dropout", 0.1),
    "max_position_embeddings": At("max_len", 512),
    "type_vocab_size": At("embedding.segments", 2),
    "layer_norm_eps": At("layer.norm.eps embedding.norm.eps", 1e-12),
    "is_decoder": Only(False),
    "add_cross_attention": Only(False),
    "position_embedding_type": Only("absolute"),
    **{f"pooler_{n}": Unused() for n in ("fc_size", "num_attention_heads", "num_fc_layers", "size_per_head", "type")},
    **dict.fromkeys(("pruned_heads", "cross_attention_hidden_size", "tie_encoder_decoder", "eos_token_ids"), Unused()),
}

BERT = Family(
    model_type="bert",
    base=bert,
    fields=FIELDS,
    heads=HEADS,
    rules=rules,
    adjust=adjust,
    describe=describe,
    quirks=(
        "A question-answering or token-classification model never has the pooler, whatever its file holds.",
        "transformers counts positions from the first column, padding included; here each text starts at 0, as if it "
        "were given position_ids.",
        "transformers pools the first column; with padding on the left that is no token. Here it is the text's first.",
        "transformers' softmax over the places of an answer gives some weight to padding; here it has none.",
        "An untied masked-token head has a second bias that is never used; new models write a copy of the first.",
    ),
)
