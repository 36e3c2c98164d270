"""Budgets become steps."""

import pytest

from jorip.compare.budget import Budget
from jorip.core.errors import ConfigError


def test_kinds():
    assert Budget.parse("steps=1000").steps(1e9, None) == 1000
    assert Budget.parse("flops=3e12").steps(1e9, None) == 1000
    assert Budget.parse({"minutes": 15}).steps(1e9, 0.5) == 1800
    assert Budget.parse("flops=1").steps(1e9, None) == 1  # never none
    assert str(Budget.parse("minutes=0.5")) == "0.5 minutes"
    assert Budget.parse(Budget("steps", 3)) == Budget("steps", 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1000", "a budget is steps=N, flops=F or minutes=M, found '1000'"),
        ({"steps": 1, "flops": 2}, "a budget is steps=N"),
        ("step=3", "there is no budget called 'step'; did you mean 'steps'"),
        ("steps=0", "the budget of steps is a number above 0, found 0"),
        ("minutes=soon", "the budget of minutes is a number above 0, found 'soon'"),
        ("steps=1.5", "the budget of steps is a whole number, found 1.5"),
        ("flops=.inf", "a number above 0, found inf"),
    ],
)
def test_mistakes(text, said):
    with pytest.raises(ConfigError, match=said):
        Budget.parse(text)
