"""`jorip.diff` reads like what a person would say."""

import jorip

BASE = jorip.Decoder(vocab_size=9, n_layers=3)


def test_fields_parts_and_nothing():
    assert jorip.diff(BASE, BASE) == "no difference"
    other = BASE.override({"d_model": 64, "layer.feed_forward": jorip.Gated()})
    lines = jorip.diff(BASE, other).splitlines()
    assert lines[0] == "d_model: 256 -> 64"
    assert "layer.feed_forward: dense -> gated" in lines
    assert (
        jorip.diff(BASE, jorip.Encoder(vocab_size=9, n_layers=3)).splitlines()[0] == "architecture: decoder -> encoder"
    )


def test_one_layer_is_one_line():
    other = BASE.override({"layers.1.dropout": 0.1})
    assert jorip.diff(BASE, other) == "layers.1.dropout: 0.0 -> 0.1"
    assert jorip.diff(other, BASE) == "layers.1.dropout: 0.1 -> 0.0"
    both = jorip.EncoderDecoder(encoder=jorip.Encoder(vocab_size=9), decoder=BASE)
    changed = both.override({"decoder.layers.2.mixer": jorip.Lstm()})
    assert "decoder.layers.2.mixer: multi_head -> lstm" in jorip.diff(both, changed)
    assert "decoder.layers.1" not in jorip.diff(both, changed)


def test_cycles_are_compared_by_layer():
    cycle = BASE.override({"layer": jorip.Cycle(jorip.PreNorm(), jorip.PostNorm())})
    assert jorip.diff(BASE, cycle) == "layers.1: pre_norm -> post_norm"
