import pytest

from jorip.training import failpoints


def test_counts_and_actions():
    failpoints.arm("a:2:full")
    try:
        failpoints.hit("a")
        failpoints.hit("b")
        with pytest.raises(OSError, match="No space left"):
            failpoints.hit("a")
        failpoints.hit("a")
    finally:
        failpoints.arm("")


def test_unarmed_places_do_nothing():
    failpoints.arm("")
    failpoints.hit("a")
