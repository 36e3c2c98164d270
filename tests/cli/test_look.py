"""`jorip show`, `list` and `cost`."""

import json

import pytest
import yaml

from jorip.cli.cost import ranges
from jorip.cli.table1 import formulas

VANILLA = ("d_model=64", "n_heads=4", "layer.mixer.bias=false", "layer.feed_forward.bias=false", "n_layers=3")


@pytest.mark.parametrize(("width", "length", "batch"), [(64, 16, 1), (64, 300, 2), (128, 256, 3)])
def test_cost_is_the_survey_s_table_1_exactly(jorip, width, length, batch):
    sizes = (*VANILLA[1:], f"d_model={width}", "layer.feed_forward.d_ff=null")
    found = jorip("cost", "encoder-small", *sizes, "--batch", batch, "--length", length, "--json").json
    table = found["survey_table_1"]["encoder"]
    D, T = width, length
    attention, feed_forward = table["self_attention"], table["feed_forward"]
    assert attention["parameters"] == attention["counted_parameters"] == 4 * D * D
    assert feed_forward["parameters"] == feed_forward["counted_parameters"] == 8 * D * D
    assert attention["macs"] == attention["counted_macs"] == 4 * T * D * D + 2 * T * T * D
    assert feed_forward["macs"] == feed_forward["counted_macs"] == 8 * T * D * D
    assert list(table["crossover_lengths"].values()) == [D, 2 * D, 4 * D]
    assert table["dominates"] == ("self_attention" if T > 2 * D else "feed_forward")
    parts = {p["path"]: p for p in found["parts"]}
    assert parts["layers.2.mixer"]["parameters"] == 4 * D * D
    assert parts["layers.2.mixer"]["macs"] == batch * attention["macs"]
    assert parts["layers.2.mixer"]["flops"] == 2 * parts["layers.2.mixer"]["macs"]


def test_the_modules_cost_the_same_at_twice_the_width():
    for D in (64, 512, 768):
        f = formulas(D, 2 * D)
        assert f["self_attention"]["macs"] == f["feed_forward"]["macs"]


def test_cost_adds_up(jorip):
    found = jorip("cost", "transformer-tiny", "--batch", 2, "--length", 30, "--memory", 20, "--json").json
    for name in ("parameters", "macs", "flops", "activation_bytes", "state_bytes"):
        assert found["total"][name] == sum(p[name] for p in found["parts"])
    half = jorip(
        "cost", "transformer-tiny", "--batch", 2, "--length", 30, "--memory", 20, "--precision", "bf16", "--json"
    )
    assert 2 * half.json["total"]["state_bytes"] == found["total"]["state_bytes"]
    assert 1 < found["total"]["activation_bytes"] / half.json["total"]["activation_bytes"] < 2  # statistics stay fp32
    assert set(found["survey_table_1"]) == {"encoder", "decoder"}
    assert found["survey_table_1"]["encoder"]["length"] == 20


def test_cost_table_joins_equal_layers(jorip):
    shown = jorip("cost", "encoder-small", *VANILLA).out
    assert "layers.0-2.mixer" in shown and "4D² = 16,384" in shown and "T = 128 " in shown
    shown = jorip("cost", "encoder-small", *VANILLA, "layers.1.mixer=rnn").out
    assert "layers.0,2.mixer" in shown and "layers.1.mixer" in shown


def test_ranges():
    assert ranges([0, 1, 2, 5, 7, 8]) == ["0-2", "5", "7-8"]


def test_show_a_recipe_a_run_and_files(jorip, place, runs, tmp_path):
    shown = jorip("show", "transformer-tiny")
    assert shown.code == 0 and "cross: multi_head" in shown.out and "position: sinusoidal  [P1.1]" in shown.out
    trained = jorip("show", runs / "tag", "--json").json
    assert trained["spec"]["encoder"]["readout"] == {"tagger": {"n_classes": 2, "dropout": 0.0}}
    assert trained["total_parameters"] == sum(trained["parameters"].values())
    config = jorip("show", place / "tag.yaml", "n_layers=2", "--json").json
    assert "an untrained run" in jorip("show", place / "tag.yaml").err
    assert config["spec"]["encoder"]["d_model"] == 16 and config["spec"]["encoder"]["n_layers"] == 2
    (tmp_path / "spec.json").write_text(json.dumps(trained["spec"]), encoding="utf-8")
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(trained["spec"]), encoding="utf-8")
    for name in ("spec.json", "spec.yaml"):
        assert jorip("show", tmp_path / name, "--json").json["spec"] == trained["spec"]


def test_show_draws_what_sparse_attention_sees(jorip, tmp_path):
    """Of each kind of it; full attention is not drawn in the terminal, where there is nothing to see in it."""
    small = ("encoder-small", "n_layers=2", "d_model=16", "layer.feed_forward.d_ff=8")
    shown = jorip("show", *small, "layer.mixer.mechanism={local: {window: 3}}", "--length", 12)
    assert shown.code == 0 and shown.out.count("┌────────────┐") == 1
    assert "layers.0.mixer and 1 more: local (12 rows)" in shown.out and "│█████▄      │" not in shown.out
    assert "┌" not in jorip("show", *small).out
    mixed = jorip("show", *small, "layers.1.mixer.mechanism=bigbird").out
    assert mixed.count("└") >= 1 and "layers.1.mixer: big_bird (" in mixed and "layers.0.mixer: full" not in mixed
    for name in ("a.png", "b.svg"):
        assert jorip("show", *small, "--picture", tmp_path / name, "--json").json["name"] == "encoder-small"
        assert (tmp_path / name).stat().st_size > 1000
    bad = jorip("show", *small, "--picture", tmp_path / "c.gif")
    assert bad.code == 2 and "a picture is a .png or .svg file" in bad.err
    none = jorip("show", *small, "layer.mixer=lstm", "--picture", tmp_path / "c.png")
    assert none.code == 2 and "nothing to draw" in none.err and not (tmp_path / "c.png").exists()


@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        (("transformer-tny",), 2, "did you mean 'transformer-tiny'?"),
        (("encoder-small", "n_layer=2"), 2, "did you mean 'n_layers'?"),
        (("encoder-small", "layer.mixer=multihed"), 2, "did you mean 'multi_head'?"),
        (("encoder-small", "n_layers"), 2, "an override is written path=value, found 'n_layers'"),
        (("encoder-small", "n_heads=3"), 2, "d_model must be a multiple of n_heads, found 256 and 3"),
        (("encoder-small", "n_heads=-1"), 2, "found -1"),
    ],
)
def test_wrong_specs(jorip, call, code, message):
    for command in ("show", "cost"):
        done = jorip(command, *call)
        assert done.code == code and message in done.err and done.out == ""


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "not valid JSON"),
        ("a.json", "[1]", "a run or a spec is a mapping, found list"),
        ("a.yaml", "a: [", "not valid YAML"),
        ("a.json", '{"encodr": {}}', "did you mean 'encoder'?"),
        ("a.json", '{"format": 99, "encoder": {}}', "install a newer jorip"),
    ],
)
def test_wrong_files(jorip, tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    done = jorip("show", tmp_path / name)
    assert done.code == 2 and message in done.err and "Traceback" not in done.err


def test_an_untrained_folder_is_no_model(jorip, tmp_path):
    assert jorip("show", tmp_path).code == 4


def test_list_prints_the_map(jorip):
    rows = jorip("list", "--json").json
    assert all(list(r) == ["id", "name", "kind", "status", "paper"] for r in rows)
    assert {r["status"] for r in rows} == {"working", "planned"}
    assert len({r["id"] for r in rows if r["id"]}) >= 118 and any(r["id"] is None for r in rows)
    working = jorip("list", "--status", "working", "--json").json
    assert working == [r for r in rows if r["status"] == "working"]
    shown = jorip("list").out
    assert "P3.2" in shown and f"{len(working)} of {len(rows)} work" in shown


def test_list_recipes_and_parts(jorip):
    recipes = {r["name"]: r for r in jorip("list", "recipes", "--json").json}
    assert recipes["dates"]["use"] == "jorip train dates" and recipes["transformer-base"]["kind"] == "model"
    parts = {(p["family"], p["name"]) for p in jorip("list", "parts", "--json").json}
    assert {("Mixer", "multi_head"), ("Mixer", "lstm"), ("Position", "rotary"), ("Readout", "tagger")} <= parts
    assert "multi30k-en-de" in jorip("list", "recipes").out and "rotary" in jorip("list", "parts").out
    wrong = jorip("list", "mapp")
    assert wrong.code == 2 and "'map'" in wrong.err
