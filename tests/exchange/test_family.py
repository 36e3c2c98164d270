"""Fields and families: what a config becomes, what is assumed, what is said when it cannot be."""

import pytest

from jorip.core.errors import CheckpointError
from jorip.exchange.families import families, family
from jorip.recipes.family import At, Config, NotOurs, Only, Unused, get
from jorip.recipes.fields import short
from tests.exchange.folders import ALL, tiny


@pytest.mark.parametrize("kind", ALL)
def test_what_is_written_reads_back(kind):
    spec = tiny(kind)
    fields, head = family(kind).write(spec)
    assert fields["model_type"] == kind and fields["architectures"] == [head]
    assert family(kind).differs(spec, fields, head) == ([], 0)
    assert type(family(kind).read(Config(fields), head)) is type(spec)


@pytest.mark.parametrize("kind", ALL)
def test_other_families_models_are_refused_with_a_reason(kind):
    for other in ("gpt2", "bert", "t5"):
        try:
            family(kind).write(tiny(other))
        except NotOurs as e:
            assert e.lines and all(e.lines) and str(e).startswith("this model is not a "), e


def test_families_that_are_not_known():
    assert "gpt2" in families()
    for name, says in [("bret", "did you mean 'bert'"), (None, "there is no model_type"), (3, "model_type 3 is not")]:
        with pytest.raises(CheckpointError, match=says) as e:
            family(name, "a/config.json")
        assert str(e.value).startswith("a/config.json: ") and "known are " in str(e.value)


def test_a_config_notes_what_was_taken_and_assumed():
    config = Config({"a": 1, "b": 2})
    assert config.take("a") == 1 and config.take("c", 5) == 5 and config.assumed == {"c": 5}
    with pytest.raises(CheckpointError, match="the field 'bb' is missing; did you mean 'b'"):
        config.take("bb")
    with pytest.raises(CheckpointError, match="does not know:\n  'b': 2; did you mean 'bb'"):
        config.finish({"bb": 0})


def test_many_unknown_fields_are_cut():
    with pytest.raises(CheckpointError, match=r"and 4 more$"):
        Config({f"z{i}": "x" * 1000 for i in range(12)}).finish({})


@pytest.mark.parametrize(
    ("default", "good", "bad"),
    [
        (True, [False, None, 0], ["no", [], 1.5]),
        (1, [2, 2.5, None], ["2", [2]]),
        (0.1, [1, 0.2, None], ["x", {}]),
        ("relu", ["gelu", None, 1], []),  # names are compared with those that are known
        (None, [1, "x", [1]], []),
    ],
)
def test_values_are_of_the_kind_of_the_default(default, good, bad):
    for value in good:
        assert Config({"a": value}).take("a", default) == value
    for value in bad:
        with pytest.raises(CheckpointError, match=r"config.json: a: .* is not (true or false|a number)"):
            Config({"a": value}).take("a", default)


def test_fields():
    spec = tiny("gpt2")
    assert At("d_model").write(spec) == 8 and At("a.b", 3).read("x", Config({})) == {"a.b": 3}
    at = At("n_layers layer.dropout", "few", {"few": 2, "many": 9})
    assert at.read("x", Config({"x": "many"})) == {"n_layers": 9, "layer.dropout": 9} and at.write(spec) == "few"
    assert at.became == "-> n_layers, layer.dropout"
    with pytest.raises(CheckpointError, match="x: 'none' is not one of 'few', 'many'"):
        at.read("x", Config({"x": "none"}))
    with pytest.raises(CheckpointError, match="x: 3 is not supported, 1 or 2 are"):
        Only(1, 2).read("x", Config({"x": 3}))
    config = Config({})
    assert Unused().read("x", config) == {} and config.assumed == {}
    assert get(spec, "layer.nowhere") is None and get(spec, "layer.nowhere", 7) == 7


def test_short():
    assert short("a" * 100) == "'" + "a" * 55 + " ..." and short([0] * 5000) == "5000 values" and short(3) == "3"
