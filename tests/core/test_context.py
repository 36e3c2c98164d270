"""What travels beside the rows: shared work is made once per layout and never confused with another layout's."""

import pytest
import torch

from jorip.core.context import Context
from jorip.core.layout import Layout
from jorip.core.mask import Causal
from jorip.core.random import Key


def test_row_keys_belong_to_their_layout():
    ctx = Context(key=Key(0, 0))
    at = Layout.of(torch.tensor([2, 1]), torch.tensor([7, 9]))
    assert ctx.row_keys(at) is ctx.row_keys(at)
    for n in range(1, 40):  # layouts that come and go may reuse an address
        one = Layout.of(torch.tensor([1]), torch.tensor([n]))
        alone = Context(key=Key(0, 0)).row_keys(one)
        assert torch.equal(ctx.row_keys(one), alone)
        del one


def test_crossing_shares_work_but_not_rules():
    ctx = Context(mask=Causal(), key=Key(1, 2), position=object())
    ctx.capture("a.b")
    other = ctx.crossing()
    assert other.mask.everything and other.position is None and other.key == ctx.key
    assert other.shared is ctx.shared and other.notes is ctx.notes and other.captures == {"a.b": None}


def test_part_state():
    assert Context().part_state("x") is None
    assert Context(state={"x": 3}).part_state("x") == 3
    with pytest.raises(KeyError):
        Context(state={}).part_state("x")
