"""Hash dropout: the mask of a token depends on (seed, step, place, sample, position, column) and on nothing else."""

import math

import pytest
import torch

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.blocks.pre_norm import PreNorm
from jorip.core.context import Context
from jorip.core.layout import Layout, Packed
from jorip.core.random import Key
from jorip.ops.dropout import Dropout
from jorip.parts.attention.full import Full
from jorip.parts.embedding.tokens import Tokens
from jorip.parts.feedforward.dense import Dense
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.readout.classifier import Classifier
from tests.contracts.zoo import VOCAB, close, padded, tokens

TEXTS = tokens((5, 1, 7, 3))
UID = torch.tensor([2**40 + 3, 17, 2**33, 5])
KEY = Key(seed=3, step=11)


def model(kind=Decoder, **changes):
    """Dropout of 0.3 everywhere it exists."""
    layer = PreNorm(mixer=MultiHead(mechanism=Full(dropout=0.3)), feed_forward=Dense(dropout=0.3), dropout=0.3)
    spec = kind(
        vocab_size=VOCAB, d_model=8, n_layers=2, n_heads=2, layer=layer, embedding=Tokens(dropout=0.3), **changes
    )
    return spec.build(seed=0, dtype=torch.float64).train()


def hidden(m, order, key=KEY):
    """{sample: hidden rows} of these samples in this order, in one packed call."""
    packed = Packed.cat([TEXTS[i] for i in order], UID[list(order)])
    return dict(zip(order, m(packed, key=key).hidden.split([len(TEXTS[i]) for i in order])))


def same(a, b):
    return all(torch.allclose(a[i], b[i], rtol=1e-10, atol=1e-10) for i in b)


@pytest.mark.parametrize("kind", [Encoder, Decoder])
def test_how_a_batch_is_cut_does_not_matter(kind):
    m = model(kind)
    whole = hidden(m, (0, 1, 2, 3))
    assert same(whole, hidden(m, (3, 1, 0, 2))), "order"
    assert same(whole, hidden(m, (0, 3)) | hidden(m, (2, 1))), "micro-batches"
    assert same(whole, hidden(m, (1,))), "alone, where the longest key is another"
    assert same(whole, hidden(m, (0, 1, 2, 3))), "repetition"
    for other in (Key(3, 12), Key(4, 11)):
        assert not same(whole, hidden(m, (0, 1, 2, 3), other))
    assert same(hidden(m.eval(), (0, 1)), hidden(m, (1, 0), Key(9, 9))), "no dropout in evaluation"


def test_padded_equals_packed():
    m = model(Encoder)
    expected = m(Packed.cat(TEXTS), key=KEY).hidden.split([5, 1, 7, 3])
    for where in ("left", "right", "inside"):
        ids, mask = padded(TEXTS, where)
        for h, seen, want in zip(m(ids, mask=mask, key=KEY).hidden, mask, expected):
            close(h[seen], want)


def test_classifier_dropout_is_used_and_keyed():
    m = model(Encoder, readout=Classifier(dropout=0.5))
    inputs = [Packed.cat([TEXTS[i] for i in o], UID[o]) for o in ([0, 1, 2, 3], [2, 0, 3, 1])]
    a, b = (m(x, key=KEY).logits for x in inputs)
    close(a[[2, 0, 3, 1]], b)
    for module in m.modules():
        if isinstance(module, Dropout) and module is not m.readout.dropout:
            module.p = 0.0
    x, targets = inputs[0], torch.tensor([0, 1, 0, 1])
    assert not torch.equal(m(x, key=KEY).logits, m(x, key=Key(3, 12)).logits)
    assert not torch.equal(m(x, key=KEY, targets=targets).loss[0], m(x, key=Key(3, 12), targets=targets).loss[0])


def context(seed=0, step=0):
    return Context(key=Key(seed, step))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate_and_mean(p):
    at, n = Layout.of(torch.tensor([40] * 50)), 40 * 50 * 64
    y = Dropout(p, "here").train()(torch.ones(2000, 64), at, context())
    zeros = int((y == 0).sum())
    assert abs(zeros - n * p) < 5 * math.sqrt(n * p * (1 - p))
    assert torch.allclose(y[y != 0], torch.tensor(1 / (1 - p)))
    for dim in (0, 1):  # no row and no column is favoured
        rate = (y == 0).double().mean(dim)
        assert (rate - p).abs().max() < 6 * math.sqrt(p * (1 - p) / y.shape[dim])
    w = Dropout(p, "here").train().weights(torch.ones(50, 2, 40, 40), at, context())
    assert abs(int((w == 0).sum()) - w.numel() * p) < 5 * math.sqrt(w.numel() * p * (1 - p))


def agreement(a, b) -> float:
    """How far two masks are from independent, in standard deviations."""
    a, b = (a == 0).double().flatten(), (b == 0).double().flatten()
    return abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) * math.sqrt(len(a))


def test_draws_are_independent():
    at, ones = Layout.of(torch.tensor([40] * 50)), torch.ones(2000, 64)
    draw = lambda path="a", layout=at, **key: Dropout(0.5, path).train()(ones, layout, context(**key))  # noqa: E731
    first = draw()
    assert torch.equal(first, draw())
    other = Layout.of(torch.tensor([40] * 50), torch.arange(50) + 2**32)
    for second in (draw("b"), draw(step=1), draw(seed=1), draw(layout=other), first.roll(1, 0), first.roll(1, 1)):
        assert agreement(first, second) < 5
    w = Dropout(0.5, "a").train().weights(torch.ones(50, 2, 40, 40), at, context())
    for second in (w.roll(1, 1), w.roll(1, 2), w.roll(1, 3)):
        assert agreement(w, second) < 5


def test_gradient_is_the_mask():
    at, x = Layout.of(torch.tensor([3, 2])), torch.randn(5, 7, requires_grad=True)
    drop = Dropout(0.4, "x").train()
    y = drop(x, at, context())
    y.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, torch.where(y == 0, 0.0, torch.tensor(1 / 0.6)))
    assert drop(x, at, Context()) is x, "nothing is random without a key"
    assert Dropout(0.0, "x").train()(x, at, context()) is x


def test_without_a_key_training_draws_a_fresh_one():
    m = model()
    torch.manual_seed(5)
    a, b = (m(Packed.cat(TEXTS)).hidden for _ in range(2))
    torch.manual_seed(5)
    assert not torch.equal(a, b) and torch.equal(a, m(Packed.cat(TEXTS)).hidden)
