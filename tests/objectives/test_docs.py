"""What docs/objectives.md shows can be run, and names every objective and noise."""

import re
from pathlib import Path

from jorip.objectives import Noise, Objective

PAGE = (Path(__file__).parents[2] / "docs" / "objectives.md").read_text(encoding="utf-8")


def test_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, {})


def test_all_are_named():
    for member in [*Objective.members().values(), *Noise.members().values()]:
        assert f"`{member.__name__}(" in PAGE, member
