import math

import pytest

from jorip.training.config import ScheduleConfig
from jorip.training.schedule import factor


@pytest.mark.parametrize("kind", ["constant", "cosine", "inverse_sqrt", "linear"])
def test_warmup_is_linear_and_ends_at_the_peak(kind):
    s = ScheduleConfig(kind=kind, warmup=4)
    assert [factor(n, s, 100) for n in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]


def test_shapes():
    assert factor(77, ScheduleConfig(kind="constant"), None) == 1
    assert factor(400, ScheduleConfig(kind="inverse_sqrt", warmup=100), None) == 0.5
    assert factor(30, ScheduleConfig(kind="linear", warmup=10), 50) == pytest.approx(0.5)
    cosine = ScheduleConfig(kind="cosine", warmup=10, min_ratio=0.1)
    assert factor(30, cosine, 50) == pytest.approx(0.55)
    assert factor(20, cosine, 50) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert factor(50, cosine, 50) == factor(500, cosine, 50) == pytest.approx(0.1)


def test_a_total_is_needed():
    with pytest.raises(ValueError, match="'cosine' needs a total number of steps"):
        factor(5, ScheduleConfig(kind="cosine"), None)
