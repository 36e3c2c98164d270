"""ELECTRA's pair: one table, the same numbers in every form of a batch, and what is kept."""

import pytest
import torch

import jorip
from jorip.core.cost import Shape
from jorip.core.errors import SpecError
from jorip.core.random import Key
from jorip.parts.readout.base import IGNORE
from jorip.parts.readout.tagger import Tagger
from tests.contracts.zoo import close, padded, tokens

V = 13
SIZES = {"vocab_size": V, "d_model": 8, "n_heads": 2, "max_len": 16}
TEXTS = tokens((5, 1, 7, 3))


def spec(**changes):
    learned = {"position": jorip.Learned()}
    generator = jorip.Encoder(**SIZES | {"n_layers": 1, "readout": jorip.LanguageModel()} | learned | changes)
    return jorip.GeneratorDiscriminator(
        generator=generator, discriminator=jorip.Encoder(**SIZES, n_layers=2, readout=Tagger(n_classes=2), **learned)
    )


def build():
    return spec().build(seed=0, dtype=torch.float64).eval()


def hidden(sequences):
    """Every third token is asked for."""
    targets = [torch.where(torch.arange(len(s)) % 3 == 0, s, IGNORE) for s in sequences]
    return [torch.where(t == IGNORE, s, 12) for s, t in zip(sequences, targets)], targets


def test_one_table_also_after_loading(tmp_path):
    model = build()
    jorip.save(model, tmp_path / "pair")
    for m in (model, jorip.load(tmp_path / "pair")):
        table = m.discriminator.embedding.tokens.weight
        assert m.generator.embedding.tokens.weight is table and m.generator.readout.out.weight is table
        assert m.generator.position.weight is m.discriminator.position.weight
    ids = torch.stack([TEXTS[0], TEXTS[0]])
    close(model(ids).logits, model.pretrained()(ids).logits)
    assert sum(model.spec.cost(Shape(1, 4)).parameters.values()) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("where", ["left", "right", "inside"])
def test_padding_on_any_side_equals_packed(where):
    model = build()
    inputs, targets = hidden(TEXTS)
    one = model(jorip.Packed.cat(inputs), targets=torch.cat(targets))
    ids, mask = padded(inputs, where)
    asked = torch.full(ids.shape, IGNORE)
    asked[mask] = torch.cat(targets)
    out = model(ids, mask, targets=asked)
    close(out.logits[mask], one.logits)
    for name in ("tokens", "replaced"):
        assert torch.equal(out.readouts[name][mask], one.readouts[name])
    close(out.readouts["generator"], one.readouts["generator"])
    close(out.loss[0], one.loss[0])
    assert int(out.loss[1]) == sum(map(len, TEXTS))


def test_both_learn_and_nothing_flows_through_the_draws():
    model = build()
    inputs, targets = hidden(TEXTS)
    out = model(jorip.Packed.cat(inputs), targets=torch.cat(targets))
    out.loss[0].backward(retain_graph=True)
    assert all(p.grad is None for p in model.generator.layers.parameters())
    assert all(p.grad is not None for p in model.discriminator.layers.parameters())
    out.readouts["generator"].backward()
    assert all(p.grad is not None for p in model.generator.layers.parameters())


def test_draws_follow_the_key_and_the_example():
    model = build().train()
    inputs, targets = hidden([TEXTS[2]] * 6)
    batch = jorip.Packed.cat(inputs)

    def drawn(key, uid=None):
        packed = batch if uid is None else batch._replace(uid=uid)
        return model(packed, targets=torch.cat(targets), key=key).readouts["tokens"]

    assert torch.equal(drawn(Key(1, 2)), drawn(Key(1, 2)))
    assert not torch.equal(drawn(Key(1, 2)), drawn(Key(1, 3)))
    first = drawn(Key(1, 2)).split(7)
    assert not all(torch.equal(first[0], other) for other in first[1:])
    swapped = drawn(Key(1, 2), torch.tensor([5, 4, 3, 2, 1, 0])).split(7)
    assert all(torch.equal(a, b) for a, b in zip(first, reversed(swapped)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"d_model": 16}, r"embeddings are shared, so d_model must be equal: found 16 \(generator\) and 8"),
        ({"vocab_size": 14}, "so vocab_size must be equal"),
        ({"readout": None}, "the generator needs a readout over tokens, the discriminator a tagger"),
    ],
)
def test_pairs_that_do_not_fit(changes, said):
    with pytest.raises(SpecError, match=said):
        spec(**changes).build(device="meta")
