import pytest

from jorip.core.strict_json import loads


def test_json():
    assert loads('{"a": [1, 2.5, null, {"한": "글"}]}'.encode()) == {"a": [1, 2.5, None, {"한": "글"}]}


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"a": 1, "a": 1}', "'a' is there twice"),
        (b'[{"b": {"c": 1, "c": 2}}]', "'c' is there twice"),
        (b'{"a": NaN}', "NaN is not a number of JSON"),
        (b"[-Infinity]", "-Infinity is not a number of JSON"),
        (b"[" * 200_000, "nested too deep"),
        (b'{"a": ' * 200_000, "nested too deep"),
        (b"{", "Expecting"),
        (b"", "Expecting"),
        (b'"\xff"', "utf-8"),
        (b"1" * 5000, "digits"),
    ],
)
def test_what_is_refused(raw, says):
    with pytest.raises(ValueError, match=says):
        loads(raw)
