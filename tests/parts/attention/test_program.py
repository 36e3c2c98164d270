"""Tiles against the definition over random unions, in float64, with gradients; and that they are few."""

import random

import pytest
import torch

from jorip.parts.attention.patterns.band import Band, Dilated
from jorip.parts.attention.patterns.base import Order, Pattern
from jorip.parts.attention.patterns.blocks import Blocked, Blocks
from jorip.parts.attention.patterns.global_ import Global
from jorip.parts.attention.patterns.grid import Rectangles, Segments
from jorip.parts.attention.patterns.random import Random
from jorip.parts.attention.patterns.strided import Fixed, Strided
from jorip.parts.attention.sparse.program import Situation, compile, hub_rows, seen
from jorip.parts.attention.sparse.run import run
from tests.contracts.zoo import close

CASES = 150


def drawn(rng: random.Random, causal: bool) -> Pattern:
    """Any pattern, small."""
    r = rng.randint
    makers = [
        lambda: Band(left=r(0, 6), right=r(0, 6)),
        lambda: Dilated(left=r(0, 3), right=r(0, 3), gap=r(1, 5)),
        lambda: Strided(stride=r(1, 9)),
        lambda: Fixed(stride=(s := r(1, 7)), count=r(1, s)),
        lambda: Global(first=r(1, 5), rows=bool(r(0, 1))),
        lambda: Global(first=3) if causal else Global(first=r(0, 2), last=r(1, 3)),
        lambda: Global(tag="x", first=r(0, 1), rows=bool(r(0, 1))),
        lambda: Blocks(size=r(1, 7), before=r(0, 2), after=r(0, 1)),
        lambda: Segments(size=r(1, 7), before=r(0, 9), after=r(0, 5)),
        lambda: Rectangles(width=r(1, 12), down=r(1, 3), across=r(1, 5), above=r(0, 2), below=r(0, 2), aside=r(0, 3)),
        lambda: Random(count=r(1, 4), seed=r(0, 9)),
        lambda: Blocked(size=r(1, 6), pattern=Band(left=r(0, 2), right=r(0, 2))),
        lambda: Blocked(size=r(1, 6), pattern=Random(count=r(1, 2))),
        lambda: Blocked(size=r(1, 6), pattern=Global(first=1, last=0 if causal else r(0, 1))),
        lambda: Blocked(size=r(1, 6), pattern=Band(left=1, right=1) | Random(count=1) | Global(first=1)),
    ]
    return rng.choice(makers)()


def definition(pattern, q, k, v, n, causal: bool, scale: float, marks):
    """Softmax over all pairs that are allowed; what sees nothing gives zeros."""
    longest = q.shape[2]
    place = torch.arange(longest)[None]
    s = Situation(n, longest, q.shape[1], causal, 7, {})
    allowed = seen(pattern, s, place, place, marks, marks) & (place < n[:, None])[:, None, None]
    if causal:
        allowed = allowed & (place <= place.T)
    scores = (q @ k.transpose(-1, -2) * scale).masked_fill(~allowed, -torch.inf)
    blind = ~allowed.any(-1, keepdim=True)
    return scores.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0) @ v


@pytest.mark.parametrize("case", range(CASES))
def test_tiles_are_the_definition(case):
    rng = random.Random(case)
    torch.manual_seed(case)
    causal = rng.random() < 0.4
    pattern = drawn(rng, causal)
    for _ in range(rng.randint(0, 2)):
        pattern = pattern | drawn(rng, causal)
    batch, heads, longest, rows = rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 40), rng.choice([1, 2, 3, 4, 16])
    n = torch.full((batch,), longest)
    if ragged := rng.random() < 0.5:
        n = torch.randint(0, longest + 1, (batch,))
        n[rng.randrange(batch)] = longest
    real = torch.arange(longest) < n[:, None]
    shape = (batch, heads, longest, 4)
    q, k, v = ((torch.randn(shape, dtype=torch.float64) * real[:, None, :, None]).requires_grad_() for _ in range(3))
    marks = {"x": (torch.rand(batch, longest) < 0.2) & real}
    s = Situation(n if pattern.uses_length else n.new_tensor([longest]), longest, heads, causal, 7, marks)
    got = run(compile(pattern, s, rows), q, k, v, real if ragged else None, causal, 0.4)
    want = definition(pattern, q, k, v, n, causal, 0.4, marks)
    g = torch.randn(shape, dtype=torch.float64) * real[:, None, :, None]
    close(got * real[:, None, :, None], want * real[:, None, :, None])
    for a, b in zip(torch.autograd.grad(got, (q, k, v), g), torch.autograd.grad(want, (q, k, v), g)):
        close(a, b)


LINEAR = [
    (Band(left=8, right=8), 3 * 64),
    (Band(left=100, right=0) | Global(first=10), 4 * 64),
    (Blocks(size=64), 64),
    (Dilated(left=8, right=8, gap=4), 3 * 64),
    (Blocked(size=64, pattern=Band(left=1, right=1) | Global(first=1, last=1) | Random(count=3)), 9 * 64),
    (Segments(size=64, before=64), 3 * 64),
    (Band(left=8, right=8) | Random(count=3), 3 * 64 + 3),
    (Rectangles(width=32, down=4, across=8, above=2, aside=2), 7 * 64),
]


@pytest.mark.parametrize("pattern, keys", LINEAR)
def test_pairs_grow_with_the_length(pattern, keys):
    """No more keys for each query than this, whatever the length; apart from the hubs' own rows."""
    for length in (1024, 4096):
        s = Situation(torch.tensor([length]), length, 2, False, 0, {})
        program = compile(pattern, s, 64, masks=False)
        whole = 0 if program.whole is None else program.whole.shape[1] * length
        assert program.pairs(length) - whole <= keys * length


@pytest.mark.parametrize("pattern", [Strided(stride=64), Fixed(stride=64, count=1) | Blocks(size=64)])
def test_root_patterns_grow_with_the_root(pattern):
    s = Situation(torch.tensor([4096]), 4096, 2, False, 0, {})
    assert compile(pattern, s, 64, masks=False).pairs(4096) <= 2 * 64 * 4096


def test_costs_need_no_masks():
    for pattern, _ in LINEAR:
        s = Situation(torch.tensor([300]), 300, 2, True, 0, {})
        rough, exact = compile(pattern, s, 64, masks=False), compile(pattern, s, 64)
        assert rough.pairs(300) == exact.pairs(300)
        assert all(g.tiles.hidden is None for g in rough.groups)


def test_equal_tiles_share_their_mask():
    s = Situation(torch.tensor([2048]), 2048, 2, False, 0, {})
    (group,) = compile(Band(left=8, right=8), s, 64).groups
    assert group.tiles.hidden is not None and group.tiles.hidden.shape[0] <= 3, "the first, the last, and the others"
    (group,) = compile(Blocks(size=64), s, 64).groups
    assert group.tiles.hidden is None, "nothing is hidden"


def test_orders_lay_rows_out_and_back():
    x = torch.randn(2, 3, 11, 4)
    for gap in (1, 2, 3, 20):
        for rows in (1, 2, 4):
            order = Order(gap)
            laid, places = order.lay(x, rows), order.places(11, rows)
            assert laid.shape[2] == len(places) and laid.shape[2] % rows == 0
            there = places < 11
            assert torch.equal(laid[:, :, there], x[:, :, places[there]]) and not laid[:, :, ~there].any()
            assert torch.equal(order.back(laid.flatten(0, 1), 11), x.flatten(0, 1))


def test_hubs_are_named_once_and_only_real_ones():
    s = Situation(torch.tensor([7, 1, 0]), 7, 2, False, 0, {"x": torch.tensor([[0, 1, 0, 0, 1, 0, 1]] * 3).bool()})
    assert hub_rows((Band(),), s) is None
    assert hub_rows((Global(first=2), Global(tag="x")), s).tolist() == [[0, 1, 4, 6], [0, -1, -1, -1], [-1] * 4]
    assert hub_rows((Global(last=2),), s).tolist() == [[5, 6], [0, -1], [-1, -1]]
    none = Situation(torch.zeros(0, dtype=torch.int64), 0, 2, False, 0, {})
    assert hub_rows((Global(first=2),), none).shape == (0, 0)
