"""Specs are values: written, read back, compared, overridden; everything unknown is an error that helps."""

import json

import pytest
import torch

import jorip
from jorip.architectures.base import Architecture, from_dict
from jorip.core.errors import JoripError, SpecError, did_you_mean
from jorip.core.spec import Spec, diff
from jorip.parts.feedforward.base import FeedForward
from jorip.parts.mixer.base import Mixer
from jorip.parts.norm.base import Norm

SIZES = {"vocab_size": 9, "d_model": 8, "n_layers": 3, "n_heads": 2}


def encoder(**fields):
    return jorip.Encoder(**SIZES | fields)


def pair():
    return jorip.EncoderDecoder(
        encoder=encoder(), decoder=jorip.Decoder(**SIZES, position="rotary"), share="embeddings"
    )


@pytest.mark.parametrize(
    "spec",
    [
        encoder(),
        encoder(norm=None, readout=jorip.Classifier(n_classes=3), init=jorip.Normal(std=0.1)),
        encoder(layer=jorip.Cycle(jorip.PreNorm(), jorip.PostNorm(mixer=jorip.Lstm(d_hidden=4)))),
        encoder(layer=(jorip.PreNorm(), jorip.PostNorm(), jorip.PreNorm(feed_forward=jorip.Gated()))),
        pair(),
    ],
    ids=["plain", "fields", "cycle", "each", "pair"],
)
def test_to_dict_and_back(spec):
    written = json.loads(json.dumps(spec.to_dict()))
    assert written == spec.to_dict(), "plain values: what is planned and stored equals what is made again"
    assert written["format"] == 1 and from_dict(written) == spec and hash(from_dict(written)) == hash(spec)
    assert Architecture.parse(spec) is spec


def test_families_take_instances_names_and_mappings():
    a = jorip.PreNorm(mixer=jorip.Rnn(), norm="rms_norm", feed_forward={"dense": {"d_ff": 5}})
    assert a == jorip.PreNorm(mixer="rnn", norm=jorip.RmsNorm(), feed_forward=jorip.Dense(d_ff=5))
    assert Mixer.parse({"lstm": None}) == jorip.Lstm()
    assert Norm.parse({"layer_norm": {"eps": 1e-12}}).eps == 1e-12
    schema = jorip.Encoder.model_json_schema()
    assert "rms_norm" in json.dumps(schema["properties"]["norm"])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: encoder(d_modle=3), "encoder has no field 'd_modle'; did you mean 'd_model'?"),
        (lambda: jorip.Encoder(d_model=8), "encoder needs the field 'vocab_size'"),
        (lambda: encoder(d_model="8"), "encoder.d_model: input should be a valid integer, found '8'"),
        (lambda: encoder(n_heads=0), "encoder.n_heads: input should be greater than 0, found 0"),
        (lambda: encoder(norm="layernrm"), "there is no norm called 'layernrm'; did you mean 'layer_norm'?"),
        (lambda: encoder(norm=3), "a norm is written as a name or {name: {fields}}, found 3"),
        (lambda: Norm.parse({"layer_norm": 3}), "layer_norm: fields are written as a mapping, found 3"),
        (lambda: Norm.parse({"a": {}, "b": {}}), "a norm is written as a name"),
        (lambda: FeedForward.parse("xyzzy"), "there is no feedforward called 'xyzzy'; known are dense, experts, gated"),
        (lambda: jorip.PreNorm(mixer={"lstm": {"d_hid": 3}}), "lstm has no field 'd_hid'; did you mean 'd_hidden'?"),
        (lambda: jorip.PreNorm(dropout=1.0), "pre_norm.dropout: input should be less than 1, found 1.0"),
        (
            lambda: from_dict({"format": 99, "encoder": SIZES}),
            "this spec has format 99, this jorip reads up to 1: install a newer",
        ),
        (lambda: from_dict({"encodr": SIZES}), "there is no architecture called 'encodr'; did you mean 'encoder'?"),
        (lambda: encoder().override({"layer.mixr": 1}), "pre_norm has no field 'mixr'; did you mean 'mixer'?"),
        (lambda: encoder().override({"d_model.x": 1}), "encoder.d_model is 8: it has no field 'x'"),
        (lambda: encoder().override({"**.nothing": 1}), "no field called 'nothing' anywhere in encoder"),
        (lambda: encoder().override({"layers.3.dropout": 0.1}), "encoder has layers 0 to 2, found '3'"),
        (lambda: encoder().override({"n_layers": -1}), "greater than or equal to 0, found -1"),
        (lambda: encoder(layer=(jorip.PreNorm(),)).build(), "encoder: layer names 1 blocks, n_layers is 3"),
        (lambda: encoder(layer=jorip.Cycle()), "blocks"),
        (
            lambda: encoder(n_heads=3).build(),
            "d_model must be a multiple of n_heads, found 8 and 3: change one, or set head_dim",
        ),
        (
            lambda: pair().override({"decoder.vocab_size": 7}).build(),
            "shared embeddings need equal vocab_size, found 9 (encoder) and 7 (decoder)",
        ),
    ],
)
def test_errors_help(make, message):
    with pytest.raises(SpecError) as e:
        make()
    assert message in str(e.value) and e.value.exit_code == 2 and isinstance(e.value, JoripError)


def test_override():
    spec = encoder().override({"layer.mixer.mechanism": jorip.Full(dropout=0.1), "n_layers": 2, "norm": None})
    assert spec.layer.mixer.mechanism.dropout == 0.1 and spec.n_layers == 2 and spec.norm is None
    everywhere = pair().override({"**.dropout": 0.2})
    for side in (everywhere.encoder, everywhere.decoder):
        assert side.layer.dropout == side.embedding.dropout == side.layer.feed_forward.dropout == 0.2
        assert side.layer.mixer.mechanism.dropout == 0.2
    assert pair().override({"encoder.d_model": 16, "share": "none"}).decoder.d_model == 8


def test_override_of_layers():
    one = encoder().override({"layers.1.mixer": jorip.Rnn()})
    assert [one.layer.of(i).mixer.kind for i in range(3)] == ["multi_head", "rnn", "multi_head"]
    cycle = encoder(layer=jorip.Cycle(jorip.PreNorm(), jorip.PostNorm()))
    assert [cycle.layer.of(i).kind for i in range(3)] == ["pre_norm", "post_norm", "pre_norm"]
    all_of_them = cycle.override({"layer.dropout": 0.3})
    assert all(b.dropout == 0.3 for b in all_of_them.layer.blocks)
    second = cycle.override({"layer.blocks.1.dropout": 0.3})
    assert [b.dropout for b in second.layer.blocks] == [0.0, 0.3]
    with pytest.raises(SpecError, match="cycle has blocks 0 to 1, found '2'"):
        cycle.override({"layer.blocks.2.dropout": 0.3})
    assert encoder().override({"layers.0": "post_norm"}).layer.of(0).kind == "post_norm"
    kinds = [type(b).__name__ for b in cycle.build(device="meta").layers]
    assert kinds == ["PreNormBlock", "PostNormBlock", "PreNormBlock"]


def test_diff():
    a = encoder()
    assert diff(a, encoder()) == "no difference"
    b = a.override({"layer.mixer": jorip.Lstm(), "d_model": 16})
    lines = diff(a, b).splitlines()
    assert "d_model: 8 -> 16" in lines and "layer.mixer: multi_head -> lstm" in lines
    assert "layer.mixer.d_hidden: - -> None" in lines
    assert "architecture: encoder -> decoder" in diff(a, jorip.Decoder(**SIZES))


def test_specs_are_frozen_values():
    spec = encoder()
    with pytest.raises(Exception, match="frozen"):
        spec.d_model = 3
    assert len({spec, encoder(), encoder(d_model=16)}) == 2


def test_two_parts_cannot_share_a_name():
    with pytest.raises(TypeError, match="two parts of family Norm are called 'rms_norm'"):

        class Other(Norm, name="rms_norm"):
            pass

    assert Norm.members()["rms_norm"] is jorip.RmsNorm


def test_underscores_in_names_may_be_left_out():
    """`--vary layer.mixer.mechanism=full,bigbird` says what is meant; what is written down is the name itself."""
    spec = encoder(layer={"prenorm": {"mixer": {"multihead": {"mechanism": {"bigbird": {"block": 8}}}}}})
    assert spec == encoder(layer=jorip.PreNorm(mixer=jorip.MultiHead(mechanism=jorip.BigBird(block=8))))
    assert list(spec.to_dict()["encoder"]["layer"]) == ["pre_norm"] and Norm.parse("rmsnorm") == jorip.RmsNorm()
    try:

        class RmsNorM(Norm, name="rm_snorm"):
            """Another name that differs by underscores alone: then neither is meant."""

        with pytest.raises(SpecError, match=r"there is no norm called 'rmsnorm'; did you mean 'r"):
            Norm.parse("rmsnorm")
        assert Norm.parse("rms_norm") == jorip.RmsNorm()
    finally:
        Norm.registry.pop("rm_snorm", None)
    with pytest.raises(SpecError, match="there is no norm called 'Layer_Norm'"):
        Norm.parse("Layer_Norm")


def test_a_new_part_is_usable_by_name_at_once():
    class DoubleNorm(Norm):
        """Twice as large."""

        def build(self, site):
            return torch.nn.Identity()

    try:
        assert encoder(norm="double_norm").norm == DoubleNorm()
    finally:
        del Norm.registry["double_norm"]


def test_did_you_mean():
    assert did_you_mean("encodr", ["encoder", "decoder"]) == "; did you mean 'encoder'?"
    assert did_you_mean("x", ["beta", "alpha"]) == "; known are alpha, beta"
    assert did_you_mean("x", []) == "" and did_you_mean("x", map(str, range(100, 200))) == ""
    assert did_you_mean("abc", ["abd", "abe", "zzz"], 2) == "; did you mean 'abe' or 'abd'?"


def test_public_names():
    assert set(jorip.__all__) <= set(dir(jorip))
    for name in jorip.__all__:
        assert getattr(jorip, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        jorip.Nothing  # noqa: B018
    assert isinstance(jorip.Dense(), Spec)
