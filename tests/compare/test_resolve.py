"""Which resolved fields may differ, and models of all kinds."""

import pytest

import jorip
from jorip.compare.measure import Sizes, flops_per_token, growth, state_bytes
from jorip.compare.resolve import differences, follows, together
from jorip.compare.variants import Variant
from jorip.core.errors import ConfigError


@pytest.mark.parametrize(
    ("path", "varied", "is_so"),
    [
        ("layers.0.mixer", "layer.mixer", True),
        ("layers.3.mixer.mechanism.window", "layer.mixer", True),
        ("layers.3.feed_forward", "layer.mixer", False),
        ("layers.3.mixer.bias", "layer.mixer.mechanism", False),
        ("encoder.layers.0.mixer", "encoder.layer.mixer", True),
        ("decoder.layers.0.mixer", "encoder.layer.mixer", False),
        ("layers.1.mixer", "layers.1.mixer", True),
        ("layers.0.mixer", "layers.1.mixer", False),
        ("layers.2.mixer", "n_layers", True),
        ("layers.2", "layer", True),
        ("position.base", "position", True),
        ("position", "position.base", False),
        ("layers.0.mixer.mechanism.dropout", "**.dropout", True),
        ("d_model", "**.dropout", False),
    ],
)
def test_what_follows_from_a_varied_field(path, varied, is_so):
    assert follows(path, varied) == is_so


def encoder(**changes):
    return jorip.Encoder(vocab_size=9, d_model=8, n_layers=2, n_heads=2).override(changes)


def test_differences_are_the_varied_fields():
    changes = [{"n_layers": 1}, {"n_layers": 2}]
    found = differences([encoder(**c) for c in changes], [Variant(str(c), c) for c in changes])
    assert found["n_layers"] == [1, 2] and all(p.startswith(("n_layers", "layers.1")) for p in found)
    changes = [{"layer.mixer": "lstm"}, {"layer.mixer": "rnn"}]
    found = differences([encoder(**c) for c in changes], [Variant(str(c), c) for c in changes])
    assert found == {"layer.mixer": ["lstm", "rnn"]}
    with pytest.raises(ConfigError, match="the variants also differ in d_model, which nobody varied"):
        differences([encoder(), encoder(d_model=16)], [Variant("a"), Variant("b", {"n_layers": 2})])


def test_layers_that_differ_alike_are_one_line():
    both = {"layers.0.mixer": ["a", "b"], "layers.1.mixer": ["a", "b"], "d_model": [1, 2]}
    assert together(both) == {"layer.mixer": ["a", "b"], "d_model": [1, 2]}
    one = {"layers.0.mixer": ["a", "b"], "layers.1.mixer": ["a", "c"]}
    assert together(one) == one


def test_costs_of_all_kinds_of_models():
    sizes = Sizes([4, 8], 64.0)
    spec = encoder()
    cost = [jorip.cost(spec, length=n).total.flops for n in (4, 8)]
    assert flops_per_token(spec, sizes) == sum(cost) / 12 and state_bytes(spec, sizes) is None
    decoder = jorip.Decoder(vocab_size=9, d_model=8, n_layers=2, n_heads=2)
    assert state_bytes(decoder, sizes) == 2 * 2 * 8 * 8 * 4
    both = jorip.recipe("transformer-tiny")
    assert flops_per_token(both, sizes) > 0 and (state_bytes(both, sizes) or 0) > 0


def test_growth_is_what_is_held_at_once():
    size = 64 << 20

    def work():
        for _ in range(3):
            held = bytearray(size)
            held[::4096] = b"x" * len(held[::4096])
            del held

    grown = growth(work)
    assert grown is None or 0.95 * size < grown < 1.5 * size
