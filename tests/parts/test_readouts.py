"""What single readouts do beyond the contract: several targets, places of answers, names of parameters."""

import pytest
import torch
from torch.nn.functional import cross_entropy

import jorip
from jorip.core.errors import DataError, SpecError
from jorip.core.layout import Packed
from jorip.core.random import Key
from jorip.parts.readout.base import IGNORE
from tests.contracts.zoo import close, padded, tokens

SIZES = {"vocab_size": 13, "d_model": 8, "n_layers": 1, "n_heads": 2, "max_len": 16}
LENGTHS = (5, 1, 7)
TEXTS = tokens(LENGTHS)


def model(readout, **more):
    return jorip.Encoder(**SIZES, readout=readout, **more).build(seed=0, dtype=torch.float64).eval()


def test_pre_training_takes_both_targets_or_one():
    m = model(jorip.PreTraining())
    ids, mask = padded(TEXTS, "left")
    out = m(ids, mask=mask)
    rows = torch.where(mask & (ids % 2 == 0), ids, IGNORE)
    pairs = torch.tensor([1, IGNORE, 0])
    of_rows = cross_entropy(out.logits[rows != IGNORE], rows[rows != IGNORE])
    of_pairs = cross_entropy(out.readouts["next_sentence"], pairs)

    def loss(targets):
        found = m(ids, mask=mask, targets=targets)
        return found.loss[0] / found.loss[1], found.aux_losses

    both, aux = loss({"tokens": rows, "next_sentence": pairs})
    close(both, of_rows)
    assert list(aux) == ["readout.next_sentence_loss"]
    close(aux["readout.next_sentence_loss"], of_pairs)
    assert loss(rows)[1] == loss({"tokens": rows, "next_sentence": torch.full((3,), IGNORE)})[1] == {}
    alone, none = loss({"next_sentence": pairs})
    close(alone, of_pairs)
    assert none == {}
    close(out.pooled, m(Packed.cat(TEXTS)).pooled)
    with pytest.raises(DataError, match="targets called tokens and next_sentence, found 'next_sentense'; did you mean"):
        loss({"tokens": rows, "next_sentense": pairs})
    with pytest.raises(DataError, match="give pre_training targets for tokens, next_sentence or both"):
        loss({})


def test_the_trainers_sum_is_the_papers_loss():
    """Auxiliary losses are weighted by the share of loss terms, so whole batches have the mean over pairs."""
    m = model(jorip.PreTraining()).train()
    packed, key = Packed.cat(TEXTS), Key(0, 0)
    out = m(packed, targets={"tokens": torch.arange(13), "next_sentence": torch.tensor([0, 1, 1])}, key=key)
    (out.loss[0] / out.loss[1] + out.aux_losses["readout.next_sentence_loss"]).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in m.readout.parameters())


@pytest.mark.parametrize("where", ["left", "right", "inside"])
def test_places_of_spans_do_not_hang_on_padding(where):
    m = model(jorip.Spans())
    ids, mask = padded(TEXTS, where)
    spans = torch.tensor([[1, 4], [0, 0], [IGNORE, 6]])
    total, count = m(ids, mask=mask, targets=spans).loss
    assert int(count) == 5
    close(total, m(Packed.cat(TEXTS), targets=spans).loss[0])
    one = m(TEXTS[0][None]).logits[0]
    close(m(TEXTS[0][None], targets=spans[:1]).loss[0], cross_entropy(one.T, spans[0], reduction="sum"))


@pytest.mark.parametrize(
    "targets, message",
    [
        ([[0, 5], [0, 0], [0, 0]], r"sequence 0 has 5 tokens, but its span is \[0, 5\]: give places from 0"),
        ([[0, 0], [-1, 0], [0, 0]], r"sequence 1 has 1 tokens, but its span is \[-1, 0\]"),
        ([[0, 0]], r"targets are \(batch, 2\), the places of start and end; found \(1, 2\) for 3 sequences"),
    ],
)
def test_spans_that_are_not_there(targets, message):
    with pytest.raises(DataError, match=message):
        model(jorip.Spans())(Packed.cat(TEXTS), targets=torch.tensor(targets))


def test_masked_tokens_share_the_table():
    m = model(jorip.MaskedLanguageModel())
    assert m.readout.out.weight is m.embedding.tokens.weight
    assert set(dict(m.readout.named_parameters())) == {
        "out.weight", "out.bias", "dense.weight", "dense.bias", "norm.weight", "norm.bias",
    }  # fmt: skip
    free = model(jorip.MaskedLanguageModel(tied=False, bias=False))
    assert free.readout.out.weight is not free.embedding.tokens.weight and free.readout.out.bias is None


def test_numbers_and_their_dropouts():
    m = model(jorip.Classifier(n_classes=1, pool="first", hidden=True, hidden_dropout=0.5))
    packed = Packed.cat(TEXTS)
    total, count = m(packed, targets=torch.tensor([1.5, float("nan"), -100.0])).loss
    found = m(packed).logits[:, 0]
    close(total, (found[0] - 1.5) ** 2 + (found[2] + 100) ** 2)
    assert int(count) == 2
    whole, one = m(packed, targets=torch.tensor([3, IGNORE, 0])).loss
    close(whole, (found[0] - 3) ** 2 + found[2] ** 2)
    assert int(one) == 2
    m.train()
    first, second = (m(packed, key=Key(0, step)).pooled for step in (0, 1))
    assert not torch.equal(first, second) and torch.equal(first, m(packed, key=Key(0, 0)).pooled)


@pytest.mark.parametrize(
    "kind, fields, message",
    [
        (jorip.Classifier, {"n_classes": 0}, "n_classes: input should be greater than or equal to 1, found 0"),
        (jorip.Classifier, {"activation": "tan"}, "classifier.activation: input should be 'tanh', 'relu'"),
        (jorip.Spans, {"dropout": 1.0}, "spans.dropout: input should be less than 1, found 1.0"),
        (jorip.Pooled, {"pool": "frist"}, "pooled.pool: input should be 'first', 'mean', 'max' or 'last'"),
        (jorip.MaskedLanguageModel, {"norm": "layernrm"}, "did you mean 'layer_norm'?"),
    ],
)  # fmt: skip
def test_fields(kind, fields, message):
    with pytest.raises(SpecError) as e:
        kind(**fields)
    assert message in str(e.value)


def test_the_rows_of_a_decoder_can_be_read_too():
    """A readout is free of the stack below it: GPT-2 answers questions, BERT's head continues texts."""
    spans = jorip.Decoder(**SIZES, readout=jorip.Spans()).build(seed=0)
    assert spans(TEXTS[0][None]).logits.shape == (1, 5, 2)
    causal = jorip.Decoder(**SIZES, readout=jorip.MaskedLanguageModel()).build(seed=0).eval()
    assert causal.generate(TEXTS[0][None], max_new_tokens=3).shape == (1, 3)
