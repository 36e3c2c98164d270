"""Run configurations: what is read, and what every mistake says."""

import pytest

from jorip.architectures.base import Architecture
from jorip.core.errors import ConfigError
from jorip.tasks.config import LARGEST_YAML, load_config, model_spec, read_yaml, shipped, to_yaml
from jorip.tasks.registry import task_class


def test_shipped_recipes_all_validate_and_comment_every_key():
    names = shipped()
    assert {"dates", "stdlib-lm", "tinyshakespeare-char", "multi30k-en-de", "nsmc", "ewt-upos", "banking77"} <= set(
        names
    )
    for name, first_line in names.items():
        config = load_config(name)
        assert first_line, name
        assert isinstance(model_spec(config.model, task_class(config.task).recipe), Architecture)


def test_numbers_and_words_of_yaml():
    assert read_yaml("{a: 1e-3, b: 2E5, c: on, d: yes, e: true, f: 1.5, g: 10}", "x") == {
        "a": 1e-3, "b": 2e5, "c": "on", "d": "yes", "e": True, "f": 1.5, "g": 10,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["training.setps=3"], r"^dates: training: unknown key 'setps'; did you mean 'steps'\?"),
        (["data.tokenz=3"], r"unknown key 'data.tokenz'; did you mean 'tokens'\?"),
        (["task=translat"], "task: 'translat' is not one of translate, language_model, classify, tag"),
        (["data.tokens=0"], "data.tokens: input should be greater than or equal to 1, found 0"),
        (["data.tokens=many"], "data.tokens: input should be a valid integer, found 'many'"),
        (["nonsense"], "an override is written key.key=value, found 'nonsense'"),
        (["task.x=1"], "'task' is 'translate', not a section"),
        (["data.train={path: a.txt, pth: b}"], "pth"),
    ],
)
def test_mistakes_say_what_and_what_to_do(overrides, said):
    with pytest.raises(ConfigError, match=said):
        load_config("dates", overrides)


def test_overrides_reach_the_model_by_path():
    config = load_config("dates", ["model.override.encoder.n_layers=1", "model.override.**.dropout=0.5"])
    spec = model_spec(config.model, "transformer-tiny")
    assert spec.encoder.n_layers == 1 and spec.decoder.n_layers == 2
    assert spec.encoder.layer.dropout == spec.decoder.embedding.dropout == 0.5
    with pytest.raises(ConfigError, match="has no field 'mixr'; did you mean 'mixer'"):
        model_spec(load_config("dates", ["model.override.encoder.layer.mixr=lstm"]).model, "transformer-tiny")


def test_unknown_names_and_files(tmp_path):
    with pytest.raises(ConfigError, match="there is no recipe or file called 'date'; did you mean 'dates'"):
        load_config("date")
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        load_config(str(tmp_path / "none.yaml"))
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"task: \xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_config(str(bad))
    for text, said in {
        "a: [1": "not valid YAML",
        "a: &x 1\nb: *x": "anchors and aliases",
        "- 1": "sections of keys",
        "task: tag": "the key 'data' is missing",
        "a: !!python/object/apply:os.system [true]": "not valid YAML",
    }.items():
        bad.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=said):
            load_config(str(bad))
    with pytest.raises(ConfigError, match="larger than"):
        read_yaml("a" * (LARGEST_YAML + 1), "x")


def test_resolved_configuration_reads_back(tmp_path):
    config = load_config("nsmc")
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(str(again)).model_dump() == config.model_dump()


def test_recipe_and_spec_exclude_each_other():
    with pytest.raises(ConfigError, match="give one of recipe, spec and start_from, found recipe and spec"):
        load_config("dates", ["model.spec={encoder: {vocab_size: 5}}"])


@pytest.mark.parametrize("name", shipped())
def test_every_key_of_a_shipped_recipe_has_a_comment(name):
    from importlib import resources

    lines = (resources.files("jorip.recipes") / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert [line for line in lines[1:] if line.strip() and " # " not in line] == []
