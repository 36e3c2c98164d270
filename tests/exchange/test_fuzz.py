"""Folders at random: always a model or a JoripError, in little time and little memory."""

import json
import resource
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jorip
from jorip.core.errors import JoripError
from jorip.exchange.families import family
from tests.exchange.folders import ALL, make

FUZZ = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HUGE = st.sampled_from([2**24, 2**31, 10**9, 10**12, 2**63, 10**40, -(10**12)])
PLAIN = st.none() | st.booleans() | st.integers(-3, 40) | HUGE | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = st.recursive(
    PLAIN | st.sampled_from(["relu", "gelu", "linear", "default", "yarn", "full_attention", "global", "local"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["type", "rope_type", "factor", "0", "1", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
MORE = (
    "architectures",
    "id2label",
    "num_labels",
    "tie_word_embeddings",
    "rope_scaling",
    "layer_types",
    "attention_types",
)


def harmless(folder) -> None:
    """Loads, and checks that it took neither long nor much."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    try:
        jorip.load(folder)
    except JoripError as e:
        assert e.exit_code == 4 and len(str(e)) < 4000, e
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kB"
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("kind", ALL)
def test_any_value_in_any_field(kind, tmp_path):
    folder = make(tmp_path / "m", kind)
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    names = sorted({*config, *family(kind).fields, *MORE})

    @FUZZ
    @given(st.dictionaries(st.sampled_from(names), VALUES, min_size=1, max_size=3))
    def run(changes):
        path.write_text(json.dumps(config | changes), encoding="utf-8")
        harmless(folder)

    run()


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("value", [10**12, 10**9, 100_000, -1, "x", [[["global", "local"], 10**9]]])
def test_every_field_of_every_family_absurd(kind, value, tmp_path):
    folder = make(tmp_path / "m", kind)
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    for name in sorted({*config, *family(kind).fields, *MORE}):
        path.write_text(json.dumps(config | {name: value}), encoding="utf-8")
        harmless(folder)


FLIPS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model.safetensors.index.json", "origin.json"])
def test_flipped_bytes(name, tmp_path):
    """Of the config, the index, the origin, and the header of the weights."""
    model = jorip.load(make(tmp_path / "m"))
    folder = tmp_path / "x"
    sharded = 3000 if name.endswith("index.json") else 10**9
    jorip.save(model, folder, format="jorip" if name == "origin.json" else "hf", max_shard_bytes=sharded)
    raw = (folder / name).read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little") if name == "model.safetensors" else len(raw)

    @settings(FUZZ, max_examples=150)
    @given(FLIPS)
    def run(flips):
        found = bytearray(raw)
        for place, value in flips:
            found[place % end] = value
        (folder / name).write_bytes(found)
        harmless(folder)

    run()


@FUZZ
@given(raw=st.binary(max_size=60), name=st.sampled_from(["config.json", "model.safetensors"]))
def test_any_bytes(raw, name, tmp_path):
    folder = make(tmp_path / "m")
    (folder / name).write_bytes(raw)
    harmless(folder)
