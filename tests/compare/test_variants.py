"""What is varied, and what every mistake says."""

import pytest

from jorip.compare.variants import read_vary, variants, word
from jorip.core.errors import ConfigError


def test_values_are_yaml():
    assert read_vary("layer.mixer.mechanism=full,{local: {window: 64}}, 3") == (
        "layer.mixer.mechanism",
        ["full", {"local": {"window": 64}}, 3],
    )
    assert read_vary("a=") == ("a", [])


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("layer.mixer", "lstm", "lstm"),
        ("layer.mixer", {"lstm": {}}, "lstm"),
        ("layer.mixer.mechanism", {"local": {"window": 64, "scale": None}}, "local(window=64, scale=none)"),
        ("layer", {"pre_norm": {"mixer": {"lstm": {"d_hidden": 6}}}}, "pre_norm(mixer=lstm(d_hidden=6))"),
        ("n_layers", 2, "n_layers=2"),
        ("layer.mixer.bias", False, "bias=false"),
    ],
)  # fmt: skip
def test_labels(path, value, shown):
    assert word(path, value) == shown


def test_products_and_folders():
    found = variants({"layer.mixer": ["lstm", {"rnn": {"d_hidden": 4}}], "n_layers": [1, 2]})
    assert [v.label for v in found] == [
        "lstm, n_layers=1", "lstm, n_layers=2", "rnn(d_hidden=4), n_layers=1", "rnn(d_hidden=4), n_layers=2",
    ]  # fmt: skip
    assert found[2].folder == "rnn-d_hidden=4-n_layers=1"
    assert found[3].changes == {"layer.mixer": {"rnn": {"d_hidden": 4}}, "n_layers": 2}


def test_a_file_names_them(tmp_path):
    file = tmp_path / "v.yaml"
    file.write_text("창: {layer.mixer.mechanism: local}\nlstm: {layer.mixer: lstm}\nas it is:\n", encoding="utf-8")
    found = variants({}, file)
    assert [(v.label, v.folder, dict(v.changes)) for v in found] == [
        ("창", "창", {"layer.mixer.mechanism": "local"}),
        ("lstm", "lstm", {"layer.mixer": "lstm"}),
        ("as it is", "as-it-is", {}),
    ]
    assert len(variants({"n_layers": [1, 2]}, file)) == 6
    assert variants({}, {"a": {"model.override.n_layers": 1, "training.minutes": 3}, "b": {}})[0].ends == {"minutes": 3}


@pytest.mark.parametrize(
    ("vary", "named", "said"),
    [
        ({}, None, r"nothing to compare: give --vary PATH=A,B \(as in --vary layer.mixer=multi_head,lstm\) or --vari"),
        ({"layer.mixer": ["lstm"]}, None, "--vary layer.mixer: takes two or more values, .*: found only lstm"),
        ({"layer.mixer": []}, None, "found none"),
        ({"n_layers": [1, 1]}, None, "--vary n_layers: n_layers=1 is there twice"),
        ({}, {"a": {}}, "variants: holds at least two variants, .* found 1 names"),
        ({}, {"a": 3, "b": {}}, "variants: 'a' is a mapping of paths of the model to values, found 3"),
        ({}, {"a b": {}, "a-b": {}}, "two variants would be called 'a-b': name them yourself"),
        ({"data.tokens": [1, 2]}, None, "variant 'tokens=1': data.tokens cannot be varied: data, tokenizer and tra"),
        ({"training.optimizer.lr": [1, 2]}, None, "training.optimizer.lr cannot be varied"),
        ({"training.minuts": [1, 2]}, None, "unknown key 'training.minuts'; did you mean 'minutes'"),
        ({"task": ["tag", "classify"]}, None, "task cannot be varied"),
    ],
)  # fmt: skip
def test_mistakes(vary, named, said):
    with pytest.raises(ConfigError, match=said):
        variants(vary, named)


def test_mistakes_in_texts_and_files(tmp_path):
    with pytest.raises(ConfigError, match="--vary is written path=value,value: found 'full,local'"):
        read_vary("full,local")
    with pytest.raises(ConfigError, match=r"--vary a=\{: not valid YAML"):
        read_vary("a={")
    with pytest.raises(ConfigError, match=r"no\.yaml: cannot be read"):
        variants({}, tmp_path / "no.yaml")
    (tmp_path / "list.yaml").write_bytes(b"- 1\n- 2\n")
    with pytest.raises(ConfigError, match=r"list\.yaml: holds at least two variants, .* found list"):
        variants({}, tmp_path / "list.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"\xff: {}")
    with pytest.raises(ConfigError, match=r"latin\.yaml: is not UTF-8 \(byte 0\)"):
        variants({}, tmp_path / "latin.yaml")
