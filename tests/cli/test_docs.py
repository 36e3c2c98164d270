"""The pages know every key, every part and every command, and what they show can be run."""

import re
from pathlib import Path

import pytest
import yaml

import jorip
from jorip.cli.listing import _parts
from jorip.data.source import Source
from jorip.recipes import recipes
from jorip.tasks.config import RunConfig, run_config, shipped
from tests.cli.test_main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "README.ko.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def keys(model, prefix: str = ""):
    for name, field in model.model_fields.items():
        inner = field.annotation
        if hasattr(inner, "model_fields") and inner is not Source:
            yield from keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_key_is_documented():
    page = read("docs/configuration.md")
    for key in keys(RunConfig):
        section, _, name = key.partition(".")
        part = page if not name else page.split(f"\n## {section}\n")[1].split("\n## ")[0]
        assert f"`{name or section}`" in part, f"docs/configuration.md lacks {key}"
    data = read("docs/data.md")
    for name in Source.model_fields:
        assert f"`{name}`" in data, f"docs/data.md lacks {name}"


def test_every_part_and_field_is_documented():
    page = read("docs/parts.md")
    for part in _parts():
        assert re.search(rf"`{part['name']}`", page), f"docs/parts.md lacks {part['name']}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.endswith("results.md"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_yaml_examples_are_valid(page):
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        tree = yaml.safe_load(block)
        if "task" in tree and "{...}" not in block:
            run_config(tree, page.name)


def test_examples_of_sources_are_valid():
    block = re.search(r"```yaml\n(train: reviews.*?)```", read("docs/data.md"), re.DOTALL)
    assert block
    for line in block[1].splitlines():
        Source.parse(yaml.safe_load(line)["train"])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_exist(page, jorip):
    text = page.read_text(encoding="utf-8")
    for command, first in re.findall(r"(?<![\w.])jorip ([a-z]+) ([^\s`]*)", text):
        if command in COMMANDS:
            if command in ("show", "cost") or (command == "train" and first.isalpha() and first.islower()):
                assert first in {*recipes(), *shipped(), "SPEC", "NAME", "CONFIG", "FILE"}, f"{page.name}: {first}"
            assert jorip(command, "--help").code == 0


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_python_examples_run(name, tmp_path, monkeypatch):
    """One after the other, in a folder where the checkpoint that they name lies (a small one)."""
    monkeypatch.chdir(tmp_path)
    sizes = {"d_model": 12, "n_layers": 2, "n_heads": 3, "vocab_size": 20}
    jorip.save(jorip.recipe("bert-base", **sizes).build(seed=0), "bert-base-uncased", format="hf")
    space: dict = {}
    first, second = re.findall(r"```python\n(.*?)```", read(name), re.DOTALL)
    exec(first, space)
    assert space["model"].encoder.layers[0].mixer
    exec(second, space)
    assert jorip.load("out").spec == space["model"].spec


def test_both_readmes_show_the_same_commands():
    def code(name: str) -> list[str]:
        blocks = re.findall(r"```(?:sh|yaml|python)\n(.*?)```", read(name), re.DOTALL)
        return [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]

    assert code("README.md") == code("README.ko.md")
