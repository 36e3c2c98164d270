"""`jorip diff`."""

import json

import pytest
import transformers as hf

import jorip as package
from jorip.cli.meaning import meaning
from jorip.recipes import recipe

BERT_TO_ROBERTA = {
    "vocab_size": ("30,522", "50,265"),
    "embedding.segments": ("2", "1"),
    "**.eps": ("1e-12", "1e-05"),
    "position.offset": ("0", "2"),
    "readout": ("pre_training", "masked_language_model"),
}


def rows(out: str) -> dict[str, list[str]]:
    """path -> the other columns, as they are shown."""
    cells = [[c for c in line.split("  ") if c.strip()] for line in out.splitlines()]
    return {c[0].strip(): [x.strip() for x in c[1:]] for c in cells if len(c) > 1}


def test_reads_like_documentation(jorip):
    done = jorip("diff", "bert-base", "roberta-base")
    shown = rows(done.out)
    assert done.code == 0
    assert {n: tuple(v[:2]) for n, v in shown.items() if n in BERT_TO_ROBERTA} == BERT_TO_ROBERTA
    assert set(shown) == {*BERT_TO_ROBERTA, "bert-base", "parameters"} and shown["parameters"][1] == "124,697,433"
    assert shown["readout"][2] == "Masked-language-model readout (Devlin et al. 2018, 1810.04805)"
    assert shown["position.offset"][2].startswith("rows of the table before position 0")


def test_what_it_shows_is_an_override():
    a, b = recipe("bert-base"), recipe("roberta-base")
    changes = {"vocab_size": 50265, "embedding.segments": 1, "position.offset": 2, "readout": "masked_language_model"}
    assert a.override(changes | {"**.eps": 1e-5}) == a.override(changes).override({"**.eps": 1e-5}) == b


def test_json_has_every_value(jorip):
    found = jorip("diff", "bert-base", "roberta-base", "--json").json
    assert {"path": "layer.norm.eps", "a": 1e-12, "b": 1e-5} in found["differences"]
    assert len(found["differences"]) == 7
    assert found["parameters"] == {"a": 110106428, "b": 124697433}


def test_layers_and_sides_are_put_together(jorip, tmp_path):
    small = {"vocab_size": 9, "d_model": 8, "n_heads": 2, "max_len": 16}
    cycle = package.Cycle(package.PreNorm(), package.PreNorm(dropout=0.3))
    specs = {
        "one": package.Decoder(**small, n_layers=4),
        "two": package.Decoder(**small, n_layers=4, layer=cycle),
        "three": package.Decoder(**small, n_layers=6, layer=cycle.override({"**.bias": False})),
        "pair": package.EncoderDecoder(encoder=package.Encoder(**small), decoder=package.Decoder(**small)),
        "norms": package.EncoderDecoder(
            encoder=package.Encoder(**small, norm=None, position="learned"),
            decoder=package.Decoder(**small, norm=None, position="learned"),
        ),
    }
    for name, spec in specs.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(spec.to_dict()), encoding="utf-8")

    def compared(a: str, b: str) -> dict[str, list[str]]:
        return rows(jorip("diff", tmp_path / f"{a}.json", tmp_path / f"{b}.json").out)

    assert compared("one", "two")["layers.1,3.dropout"] == ["0.0", "0.3"]
    found = compared("two", "three")
    assert found["n_layers"] == ["4", "6"] and found["layer.mixer.bias"][:2] == ["true", "false"]
    assert not any(name.startswith("layers.") for name in found)
    found = compared("pair", "norms")
    assert found["{encoder,decoder}.norm"][:2] == ["layer_norm", "None"]
    assert found["**.position"][:2] == ["sinusoidal", "learned"] and "**.offset" not in found


def test_no_difference_and_folders(jorip, tmp_path, runs):
    assert jorip("diff", "gpt2", "gpt2").out == "no difference\n"
    assert jorip("diff", "gpt2", "gpt2", "--json").json["differences"] == []
    sizes = {"vocab_size": 30522, "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
    hf.BertForMaskedLM(hf.BertConfig(**sizes, intermediate_size=8)).save_pretrained(tmp_path / "a")
    shown = rows(jorip("diff", tmp_path / "a", "bert-base").out)
    assert shown["d_model"] == ["12", "768"] and "vocab_size" not in shown
    assert jorip("diff", runs / "tag", runs / "tag").out == "no difference\n"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("bert-bse", "gpt2"), "did you mean 'bert-base'?"),
        (("gpt2", "gpt-3"), "there is no recipe, file or run 'gpt-3'"),
        (("gpt2",), "Missing argument 'B'"),
    ],
)
def test_wrong_names(jorip, call, message):
    done = jorip("diff", *call)
    assert done.code == 2 and message in done.err and done.out == ""


def test_meanings_come_from_the_parts():
    spec = recipe("bert-base")
    assert meaning("embedding.segments", spec).startswith("how many segment embeddings")
    assert meaning("layer.mixer.bias", spec).startswith("of the four projections")
    assert meaning("layers.3.mixer.bias", spec) == meaning("layer.mixer.bias", spec)
    assert meaning("readout", spec) == "BERT's pre-training readout (Devlin et al. 2018, 1810.04805)"
    assert meaning("readout.tied", spec) == "the token embedding is the output matrix"
    assert meaning("norm", spec) == "after the last layer (pre-norm stacks need it)"
    assert meaning("norm.eps", spec) == meaning("d_model", spec) == meaning("nowhere.at.all", spec) == ""


def test_layers_are_counted_on_their_own_side(jorip, tmp_path):
    """Two of six encoder layers are not all of them, although the decoder has two."""
    base = recipe("transformer-tiny").override({"encoder.n_layers": 6})
    for name, changes in {
        "a": {},
        "b": {f"encoder.layers.{i}.dropout": 0.3 for i in (0, 1)},
        "c": {"encoder.layers.3.mixer": {"lstm": {"d_hidden": 24}}},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(base.override(changes).to_dict()), encoding="utf-8")
    assert "encoder.layers.0-1.dropout" in jorip("diff", tmp_path / "a.json", tmp_path / "b.json").out
    found = jorip("diff", tmp_path / "a.json", tmp_path / "c.json").out
    assert "encoder.layers.3.mixer" in found and "encoder.layers.3.mixer.d_hidden" in found
