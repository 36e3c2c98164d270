"""Every named model is a value that can be built, written and read."""

import subprocess
import sys

import pytest

import jorip
from jorip.architectures.base import from_dict
from jorip.core.errors import ConfigError


@pytest.mark.parametrize("name", jorip.recipes())
def test_a_recipe_is_a_whole_model(name):
    spec = jorip.recipe(name)
    assert from_dict(spec.to_dict()) == spec
    if spec.n_sublayers() <= 80:  # the largest take seconds even without memory
        assert sum(p.numel() for p in spec.build(device="meta").parameters()) > 1000


def test_an_unknown_recipe():
    with pytest.raises(ConfigError, match="there is no recipe called 'bert-bas'; did you mean 'bert-base'"):
        jorip.recipe("bert-bas")


@pytest.mark.parametrize("first", ["", "jorip.recipe('gpt2'); ", "import jorip.recipes; "])
def test_the_names_can_be_listed_whatever_was_imported_before(first):
    code = f"import jorip; {first}assert 'bert-base' in jorip.recipes(); import jorip.recipes; assert jorip.recipes()"
    subprocess.run([sys.executable, "-c", code], check=True)
