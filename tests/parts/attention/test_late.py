"""Late streams: some rows are those of all rows, whatever is done to them; who may fold them."""

import pytest
import torch
from torch import nn

from jorip.core.init import Linear
from jorip.core.layout import Rows
from jorip.parts.attention.late import Late
from tests.contracts.zoo import close, rows

HEADS = 2


def turned(x: Rows):
    """What a rotation does: another factor for each place."""
    return lambda y: y * (1 + x.at.order.to(y.dtype))[:, None, None]


def late(x: Rows, norm: bool = False, rotate: bool = False) -> Late:
    torch.manual_seed(0)
    linear = Linear(x.x.shape[1], 6).double()
    for p in linear.parameters():
        nn.init.normal_(p)
    return Late(x, linear, HEADS, nn.LayerNorm(3).double() if norm else None, turned(x) if rotate else None)


@pytest.mark.parametrize("lengths", [(5, 5), (4, 1, 7)])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("rotate", [False, True])
def test_some_are_those_of_all(rotate, norm, lengths):
    x = rows(lengths)
    s = late(x, norm, rotate)
    whole = s.grid()
    places = torch.tensor([[0, 3, -1], [-1, 0, -1], [6, 2, 1]])[: len(lengths)]
    found = s.some(places)
    assert found.shape == (len(lengths), HEADS, 3, 3)
    for i, row in enumerate(places.tolist()):
        for j, place in enumerate(row):
            close(found[i, :, j], whole[i, :, place] if place >= 0 else torch.zeros_like(found[i, :, j]))


def test_what_has_been_made_already():
    x = rows((4, 1, 7))
    whole = late(x).grid()
    given = Late.of(whole, x.at)
    close(given.grid(), whole)
    assert given.plain is None


def test_who_may_be_folded():
    x = rows((4, 2))
    s = late(x)
    assert s.plain is s.linear and late(x, norm=True).plain is None and late(x, rotate=True).plain is None
    handle = s.linear.register_forward_hook(lambda m, given, y: None)
    assert s.plain is None, "who waits for its call would wait in vain"
    handle.remove()
    assert s.plain is s.linear
    assert Late(x, nn.Sequential(s.linear), HEADS).plain is None
