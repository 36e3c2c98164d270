"""Layouts: rows, grids and the caller's form go into each other without loss, with gradients."""

import pytest
import torch

from jorip.core.errors import DataError
from jorip.core.layout import Layout, Packed

LENGTHS = torch.tensor([3, 0, 5, 1])


def test_packed_cat_and_split():
    sequences = [torch.tensor([1, 2]), torch.tensor([], dtype=torch.int64), torch.tensor([3])]
    packed = Packed.cat(sequences)
    assert packed.lengths.tolist() == [2, 0, 1] and packed.uid.tolist() == [0, 1, 2]
    assert all(torch.equal(a, b) for a, b in zip(packed.split(), sequences))
    assert Packed.cat(sequences, torch.tensor([7, 8, 9])).uid.tolist() == [7, 8, 9]
    assert len(Packed.cat([]).values) == 0


def test_of():
    at = Layout.of(LENGTHS)
    assert at.batch == 4 and at.longest == 5 and not at.full
    assert at.sample.tolist() == [0, 0, 0, 2, 2, 2, 2, 2, 3]
    assert at.order.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0]
    assert torch.equal(at.total, LENGTHS) and at.real.sum(1).tolist() == LENGTHS.tolist()
    assert Layout.of(torch.tensor([2, 3, 1])).last().tolist() == [1, 4, 5]


def test_of_continues():
    at = Layout.of(torch.tensor([2, 2]), start=torch.tensor([5, 0]))
    assert at.full and at.order.tolist() == [5, 6, 0, 1] and at.total.tolist() == [7, 2]
    assert at.grid_order.tolist() == [[5, 6], [0, 1]] and torch.equal(at.positions, at.order)
    moved = Layout.of(torch.tensor([2]), positions=torch.tensor([9, 4]))
    assert moved.positions.tolist() == [9, 4] and moved.order.tolist() == [0, 1]


@pytest.mark.parametrize(
    "lengths", [LENGTHS, torch.tensor([4, 4]), torch.tensor([0, 0]), torch.zeros(0, dtype=torch.int64)]
)
def test_grid_and_rows_are_inverse(lengths):
    at = Layout.of(lengths)
    x = torch.randn(int(lengths.sum()), 2, 3, dtype=torch.float64, requires_grad=True)
    g = at.grid(x)
    assert g.shape == (at.batch, at.longest, 2, 3) and torch.equal(at.rows(g), x)
    assert (g[~at.real] == 0).all()
    for b, s in enumerate(x.split(lengths.tolist())):
        assert torch.equal(g[b, : len(s)], s)
    ids = torch.arange(len(x))
    assert torch.equal(at.rows(at.grid(ids)), ids), "integers, too"
    if x.numel():
        assert torch.autograd.gradcheck(at.grid, x) and torch.autograd.gradcheck(at.rows, g.detach().requires_grad_())
        assert torch.autograd.gradgradcheck(at.grid, x)


@pytest.mark.parametrize("lengths", [LENGTHS, torch.tensor([4, 4]), torch.tensor([0, 0])])
@pytest.mark.parametrize("start", [None, True])
def test_backwards(lengths, start):
    at = Layout.of(lengths, start=lengths * 2 if start else None)
    back, x = at.backwards(), torch.arange(int(lengths.sum())) + 1
    g = back.grid(x)
    for row, s in zip(g, x.split(lengths.tolist())):
        assert row.tolist() == s.flip(0).tolist() + [0] * (at.longest - len(s))
    assert torch.equal(back.rows(g), x)


@pytest.mark.parametrize(
    "mask",
    [
        [[1, 1, 1], [1, 1, 1]],
        [[1, 1, 0], [1, 0, 0]],
        [[0, 1, 1], [0, 0, 0]],
        [[1, 0, 1], [0, 1, 0]],
    ],
    ids=["full", "right", "left", "inside"],
)
def test_pack_takes_padding_anywhere(mask):
    mask = torch.tensor(mask).bool()
    at = Layout.pack(mask)
    edge = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.equal(at.take(edge), edge[mask])
    assert torch.equal(at.edge(at.take(edge)), edge * mask[..., None])
    rows = at.take(edge).detach().requires_grad_()
    assert torch.autograd.gradcheck(at.edge, rows)
    assert torch.equal(at.grid(rows)[at.real], rows)
    shifted = Layout.pack(mask, positions=torch.tensor([[7, 8, 9]]))
    assert torch.equal(shifted.positions, torch.tensor([[7, 8, 9]]).expand(2, 3)[mask])


@pytest.mark.parametrize(
    "mask", [torch.ones(2, 3), torch.ones(2, dtype=torch.bool), torch.ones(2, 3, dtype=torch.int64)]
)
def test_pack_wants_a_boolean_mask(mask):
    with pytest.raises(
        DataError, match=r"mask must be bool \(batch, length\), True = a real token; found torch.* use mask.bool"
    ):
        Layout.pack(mask)
