"""Student's intervals."""

import pytest

from jorip.compare.interval import interval, student


def test_points_of_student():
    assert [student(n) for n in (1, 2, 10)] == [12.7062, 4.3027, 2.2281]
    assert student(11) == pytest.approx(2.2010, abs=2e-4)
    assert student(30) == pytest.approx(2.0423, abs=1e-4)
    assert student(10**6) == pytest.approx(1.95996, abs=1e-4)


def test_intervals():
    three = interval([0.35, 0.36, 0.37])
    assert three is not None and three.half is not None
    assert three.mean == pytest.approx(0.36) and three.half == pytest.approx(4.3027 * 0.01 / 3**0.5)
    assert three.text() == "0.3600 ± 0.0248" and three.low < 0.34 and three.high > 0.38
    one = interval([2.0])
    assert one is not None and one.half is None and one.text(1) == "2.0" and one.low == one.high == 2.0
    assert interval([]) is None
