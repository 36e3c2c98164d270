"""RoBERTa (Liu et al. 2019, 1907.11692): BERT, trained longer and without pairs of texts. XLM-RoBERTa (1911.02116)
and CamemBERT (1911.03894) are the same model with other vocabularies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jorip.architectures.encoder import Encoder
from jorip.core.errors import CheckpointError
from jorip.core.weights import Rules
from jorip.parts.position.learned import Learned
from jorip.parts.readout.classifier import Classifier
from jorip.parts.readout.masked_language_model import MaskedLanguageModel
from jorip.recipes import bert as of
from jorip.recipes.family import At, Config, Head


def roberta(vocab_size: int = 50265, max_len: int = 512, **sizes: int) -> Encoder:
    """125 M parameters; XLM-RoBERTa has 250002 tokens and 278 M."""
    return of.bert(vocab_size, max_len, **sizes).override({
        "embedding.segments": 1,
        "position": Learned(offset=2),
        "readout": MaskedLanguageModel(),
        "**.eps": 1e-5,
    })  # fmt: skip


def large() -> Encoder:
    """355 M parameters."""
    return roberta(d_model=1024, n_layers=24, n_heads=16)


def xlm() -> Encoder:
    """278 M parameters, a hundred languages."""
    return roberta(vocab_size=250002)


def _offset(config: Config) -> int:
    """Positions are counted from the padding id + 1: the table's rows before are never used."""
    pad = config.take("pad_token_id", 1)
    if type(pad) is not int or pad < 0:
        raise CheckpointError(f"{config.where}: pad_token_id: positions start behind it, so it must be an id: {pad!r}")
    return pad + 1


def _adjust(spec: Encoder, config: Config) -> Encoder:
    offset, rows = _offset(config), config.take("max_position_embeddings", 512)
    if type(rows) is not int or rows <= offset:
        raise CheckpointError(
            f"{config.where}: max_position_embeddings: {rows}: the first {offset} of these rows are for padding"
        )
    return of.adjust(spec, config).override({"max_len": rows - offset, "position.offset": offset})


def _describe(spec: Any) -> dict[str, Any]:
    offset = spec.position.offset
    rows = {"max_position_embeddings": spec.max_len + offset, "pad_token_id": offset - 1}
    return of.describe(spec) | rows


def _rules(spec: Encoder) -> Rules:
    readout, table = spec.readout, of.encoder_rules(spec)
    heads = {n: rule for n, rule in of.head_rules(spec).items() if not n.startswith("cls.")}
    if isinstance(readout, MaskedLanguageModel):
        heads = {"lm_head.dense": "readout.dense", "lm_head.layer_norm": "readout.norm"}
        heads |= of.decoder_rules(readout, "lm_head.decoder", "lm_head.bias")
    if isinstance(readout, Classifier):
        heads = {"classifier.dense": "readout.hidden", "classifier.out_proj": "readout.out"}
        table["pooler.dense"] = of.UNUSED_POOLER
    return of.TwoBiases(table, prefix="roberta.", heads=heads, old=of.OLD)


def heads(name: str) -> dict[str, Head]:
    """The classes of a family called `name`: BERT's without pairs; the head that fills in has one activation, the one
    that classifies a layer of its own."""

    def classifier(c: Config) -> Classifier:
        p = of.last_dropout(c)
        return Classifier(n_classes=c.n_labels, pool="first", hidden=True, dropout=p, hidden_dropout=p)

    own: dict[str, Head] = {
        "ForMaskedLM": lambda c: of.masked(MaskedLanguageModel, c, "gelu"),
        "ForSequenceClassification": classifier,
    }
    theirs = {n.removeprefix("Bert"): head for n, head in of.HEADS.items()}
    kept = ("ForTokenClassification", "ForQuestionAnswering", "Model")
    return {name + n: head for n, head in (own | {n: theirs[n] for n in kept}).items()}


FIELDS = {n: rule for n, rule in of.FIELDS.items() if n != "max_position_embeddings"}
ROBERTA = replace(
    of.BERT,
    model_type="roberta",
    base=roberta,
    fields=FIELDS | {"vocab_size": At("vocab_size", 50265)},
    heads=heads("Roberta"),
    rules=_rules,
    adjust=_adjust,
    describe=_describe,
    quirks=(
        "transformers finds positions by counting the ids that are not padding, so a padding id inside a text would "
        "shift them; here the mask alone says what is padding.",
        "The masked-token head's activation is always gelu, whatever hidden_act says.",
        of.BERT.quirks[-1],
    ),
)
XLM_ROBERTA = replace(ROBERTA, model_type="xlm-roberta", base=xlm, fields=FIELDS, heads=heads("XLMRoberta"))
CAMEMBERT = replace(XLM_ROBERTA, model_type="camembert", heads=heads("Camembert"))
