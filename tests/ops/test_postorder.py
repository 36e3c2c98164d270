"""Rows and spans in line: against the line written out by a loop."""

import pytest
import torch

from jorip.ops import postorder


def line(n: int, whole: bool) -> list[tuple[int, int]]:
    """(level, index) of everything, place by place."""
    found = []
    for row in range(n):
        found.append((0, row))
        level = 1
        while (row + 1) % 2**level == 0:
            found.append((level, row >> level))
            level += 1
    level = 1
    while not whole and 2 ** (level - 1) < n:
        if n % 2**level:
            found.append((level, n >> level))
        level += 1
    return found


@pytest.mark.parametrize("whole", [False, True])
def test_against_the_loop(whole):
    for n in [*range(70), 127, 128, 129, 1000]:
        expected = line(n, whole)
        assert int(postorder.size(torch.tensor(n), whole)) == len(expected)
        length = torch.tensor([len(expected)])
        assert postorder.rows_of(length, whole).tolist() == [n]
        level, index = postorder.node(torch.arange(len(expected)), None if whole else torch.tensor(n))
        assert list(zip(level.tolist(), index.tolist())) == expected
        rows = [expected.index((0, row)) for row in range(n)]
        assert postorder.place_of(torch.arange(n)).tolist() == rows


def test_places_do_not_change_when_the_sequence_grows():
    for n in range(1, 40):
        assert line(n + 1, True)[: len(line(n, True))] == line(n, True)


def test_beyond_the_line_is_something():
    level, index = postorder.node(torch.arange(200), torch.tensor([[0], [1], [5]]))
    assert level.shape == (3, 200) and (level >= 0).all() and int(level.max()) < 9 and (index >= 0).all()


def test_large_numbers():
    n = torch.tensor([2**36 - 1, 2**36, 2**36 + 1])
    assert postorder.ones(n).tolist() == [36, 1, 2]
    assert postorder.height(n).tolist() == [36, 36, 37]
    assert postorder.size(n, True).tolist() == [2**37 - 2 - 36, 2**37 - 1, 2**37]
