"""BigBird (Zaheer et al. 2020, 2007.14062): RoBERTa's and BERT's encoder for 4096 tokens, with attention to a window of
blocks, both ends (ITC) and random blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from jorip.architectures.encoder import Encoder
from jorip.core.errors import CheckpointError
from jorip.core.weights import Ignored, Rules
from jorip.parts.attention.full import Full
from jorip.parts.attention.sparse.big_bird import BigBird
from jorip.parts.feedforward.dense import Dense
from jorip.parts.norm.layer_norm import LayerNorm
from jorip.parts.readout.classifier import Classifier
from jorip.parts.readout.masked_language_model import MaskedLanguageModel
from jorip.parts.readout.pooled import Pooled
from jorip.parts.readout.pre_training import PreTraining
from jorip.parts.readout.spans import Spans
from jorip.parts.readout.tagger import Tagger
from jorip.recipes import bert as of
from jorip.recipes.family import At, Config, Head
from jorip.recipes.gpt2 import ACTIVATIONS

_IDLE = "the pooler, which transformers' class has and does not use"


def big_bird(vocab_size: int = 50358, max_len: int = 4096, **sizes: int) -> Encoder:
    """127 M parameters, with the paper's attention: its random blocks are drawn once, and also used in evaluation. With
    `layer.mixer.mechanism.plan=huggingface` it is what transformers runs."""
    return of.bert(vocab_size, max_len, **sizes).override({
        "layer.mixer.mechanism": BigBird(),
        "layer.mixer.out_bias": True,
        "layer.feed_forward.activation": "gelu_tanh",
        "readout": PreTraining(activation="gelu_tanh"),
    })  # fmt: skip


def large() -> Encoder:
    """358 M parameters."""
    return big_bird(d_model=1024, n_layers=24, n_heads=16)


def _base() -> Encoder:
    return big_bird().override({"layer.mixer.mechanism": Full()})


def _activation(config: Config) -> Any:
    return ACTIVATIONS[config.take("hidden_act", "gelu_new")]


def _classifier(config: Config) -> Classifier:
    p, f = of.last_dropout(config), _activation(config)
    return Classifier(n_classes=config.n_labels, pool="first", hidden=True, activation=f, hidden_dropout=p, dropout=p)


def _spans(config: Config) -> Spans:
    return Spans(
        feed_forward=Dense(d_ff=config.take("intermediate_size", 3072), activation=_activation(config)),
        norm=LayerNorm(eps=config.take("layer_norm_eps", 1e-12)),
        dropout=config.take("hidden_dropout_prob", 0.1),
    )


HEADS: dict[str, Head] = {
    "BigBirdForPreTraining": lambda c: of.masked(PreTraining, c, _activation(c)),
    "BigBirdForMaskedLM": lambda c: of.masked(MaskedLanguageModel, c, _activation(c)),
    "BigBirdForSequenceClassification": _classifier,
    "BigBirdForTokenClassification": lambda c: Tagger(n_classes=c.n_labels, dropout=of.last_dropout(c)),
    "BigBirdForQuestionAnswering": _spans,
    "BigBirdModel": of.pooled,
}


def _adjust(spec: Encoder, config: Config) -> Encoder:
    kind = config.take("attention_type", "block_sparse")
    block, random = config.take("block_size", 64), config.take("num_random_blocks", 3)
    if kind == "block_sparse":
        p = config.take("attention_probs_dropout_prob", 0.1)
        sparse = BigBird(block=block, random=random, dropout=p, plan="huggingface")
        spec = spec.override({"layer.mixer.mechanism": sparse})
    elif kind != "original_full":
        raise CheckpointError(
            f"{config.where}: attention_type: {kind!r} is not one of 'block_sparse', 'original_full'"
        )  # fmt: skip
    return of.adjust(spec, config)


def _describe(spec: Any) -> dict[str, Any]:
    mechanism = spec.layer.mixer.mechanism
    sparse = isinstance(mechanism, BigBird)
    blocks = {"block_size": mechanism.block, "num_random_blocks": mechanism.random} if sparse else {}
    return of.describe(spec) | {"attention_type": "block_sparse" if sparse else "original_full"} | blocks


class _WithPooler(of.TwoBiases):
    """Writes zeros for the pooler that transformers' class has under every head, where no readout of ours has one."""

    def save(self, ours: Mapping[str, Tensor], prefixed: bool = True) -> dict[str, Tensor]:
        found, table = super().save(ours, prefixed), ours["embedding.tokens.weight"]
        if any(isinstance(rule, Ignored) and rule.why == _IDLE for _, rule in self.rules):
            name, width = (self.prefix if prefixed else "") + "pooler", table.shape[1]
            found |= {f"{name}.weight": table.new_zeros(width, width), f"{name}.bias": table.new_zeros(width)}
        return found


def _rules(spec: Encoder) -> Rules:
    readout, table, heads = spec.readout, of.encoder_rules(spec), of.head_rules(spec)
    pooler = table.pop("pooler.dense")
    if isinstance(readout, Classifier):
        heads |= {"classifier.dense": "readout.hidden", "classifier.out_proj": "readout.out"}
        del heads["classifier"]
    if isinstance(readout, Spans):
        heads |= {
            "qa_classifier.intermediate.dense": "readout.feed_forward.up",
            "qa_classifier.output.dense": "readout.feed_forward.down",
            "qa_classifier.output.LayerNorm": "readout.norm",
            "qa_classifier.qa_outputs": "readout.out",
        }
        del heads["qa_outputs"]
    elif not isinstance(readout, PreTraining | Pooled):
        pooler = Ignored(_IDLE)
    return _WithPooler(table | {"pooler": pooler}, prefix="bert.", heads=heads, old=of.OLD)


BIG_BIRD = replace(
    of.BERT,
    model_type="big_bird",
    base=_base,
    fields=of.FIELDS
    | {
        "vocab_size": At("vocab_size", 50358),
        "hidden_act": At("layer.feed_forward.activation", "gelu_new", ACTIVATIONS),
        "max_position_embeddings": At("max_len", 4096),
        "use_bias": At("layer.mixer.bias", True),
        "rescale_embeddings": At("embedding.scale", False, {False: "none", True: "sqrt"}),
    },
    heads=HEADS,
    rules=_rules,
    adjust=_adjust,
    describe=_describe,
    quirks=(
        "In evaluation transformers replaces every random block by block 0, which then counts 1 + num_random_blocks "
        "times; in training it draws them with numpy from the layer's number, and from another rule at 1024, 3072 and "
        "4096 rows. Loaded folders do the same (plan=huggingface); the paper's blocks are random, distinct and fixed.",
        "The blocks are cut in the caller's padded form, so padding changes the result: pad as you would for "
        "transformers. Packed inputs are cut alone, each as if it were not padded.",
        "Inputs of at most (5 + 2 num_random_blocks) block_size columns are attended in full. One of them changes "
        "transformers' model for good, so that later long ones are full, too; here each call is judged alone.",
        "The sparse form has no dropout of weights; the full one has.",
        "transformers drops embeddings before their norm; here it is after it, as in BERT.",
        "BigBirdForQuestionAnswering takes 1e6 from the scores of the question (up to the first sep_token_id), and "
        "where no segments are given makes them of it (0, then 1 from the end of the question on); here all rows have "
        "scores, and segments are the caller's.",
        "The masked-token, classification and tagging classes have a pooler that they do not use: it stays "
        "beside the model and is written back; new models write zeros.",
        of.BERT.quirks[-1],
    ),
)
