"""Every pattern against a loop over pairs, what unions, blocks and heads make of them, what they refuse."""

import pytest
import torch

from jorip.core.errors import Refused, SpecError
from jorip.parts.attention.patterns.band import Band, Dilated
from jorip.parts.attention.patterns.base import Pattern
from jorip.parts.attention.patterns.blocks import Blocked, Blocks
from jorip.parts.attention.patterns.global_ import Global
from jorip.parts.attention.patterns.grid import Rectangles, Segments
from jorip.parts.attention.patterns.per_head import PerHead
from jorip.parts.attention.patterns.random import Random
from jorip.parts.attention.patterns.strided import Fixed, Strided
from jorip.parts.attention.patterns.union import Union
from jorip.parts.attention.sparse.program import Situation, seen
from tests.contracts.zoo import members, site


def pairs(pattern: Pattern, n: int, longest: int | None = None, heads: int = 2, causal: bool = False, marks=()):
    """(heads, longest, longest) bool: the definition, for one sequence of n rows; marks: the rows marked "x"."""
    longest = longest or n
    place, marked = torch.arange(longest)[None], torch.zeros(1, longest, dtype=torch.bool)
    marked[0, list(marks)] = True
    s = Situation(torch.tensor([n]), longest, heads, causal, 5, {})
    found = seen(pattern, s, place, place, {"x": marked}, {"x": marked})
    return found.expand(1, heads, longest, longest)[0]


def loop(n: int, rule) -> torch.Tensor:
    return torch.tensor([[bool(rule(i, j)) for j in range(n)] for i in range(n)])


RULES = [
    (Band(left=2, right=1), lambda i, j: -2 <= j - i <= 1),
    (Band(left=0, right=0), lambda i, j: i == j),
    (Dilated(left=2, right=1, gap=3), lambda i, j: j - i in (-6, -3, 0, 3)),
    (Dilated(left=1, right=2, gap=1), lambda i, j: -1 <= j - i <= 2),
    (Strided(stride=4), lambda i, j: i % 4 == j % 4),
    (Strided(stride=1), lambda i, j: True),
    (Fixed(stride=5, count=2), lambda i, j: j % 5 in (3, 4)),
    (Fixed(stride=3, count=3), lambda i, j: True),
    (Blocks(size=4), lambda i, j: i // 4 == j // 4),
    (Blocks(size=3, before=2, after=1), lambda i, j: i // 3 - 2 <= j // 3 <= i // 3 + 1),
    (Segments(size=4, before=3, after=2), lambda i, j: i // 4 * 4 - 3 <= j < i // 4 * 4 + 6),
    (Global(first=2), lambda i, j: i < 2 or j < 2),
    (Global(first=2, rows=False), lambda i, j: j < 2),
    (Global(first=1, last=2), lambda i, j: {i, j} & {0, 13, 14}),
    (Global(tag="x"), lambda i, j: {i, j} & {4, 9}),
    (Global(tag="x", first=1, rows=False), lambda i, j: j in (0, 4, 9)),
    (Blocked(size=4, pattern=Band(left=1, right=0)), lambda i, j: i // 4 - 1 <= j // 4 <= i // 4),
    (Blocked(size=2, pattern=Global(first=1, last=1)), lambda i, j: {i // 2, j // 2} & {0, 7}),
    (Band(left=1, right=0) | Global(first=1), lambda i, j: 0 <= i - j <= 1 or i == 0 or j == 0),
    (
        Rectangles(width=4, down=2, across=2, above=1, below=0, aside=1),
        lambda i, j: (
            i // 4 // 2 * 2 - 1 <= j // 4 < i // 4 // 2 * 2 + 2 and i % 4 // 2 * 2 - 1 <= j % 4 < i % 4 // 2 * 2 + 3
        ),
    ),
]


@pytest.mark.parametrize("pattern, rule", RULES)
def test_the_definition_is_this_rule(pattern, rule):
    want = loop(15, rule)
    got = pairs(pattern, 15, marks=(4, 9))
    assert torch.equal(got[0], want) and torch.equal(got[1], want)


@pytest.mark.parametrize("pattern", members(Pattern))
def test_tiles_reach_all_that_is_allowed_and_exact_ones_no_more(pattern):
    """`reach` may promise more than `allow`, never less; in the pattern's own order of rows."""
    for n in (1, 2, 7, 24):
        for p in (m for g in pattern.groups for m in g.members_of_union):
            allowed = pairs(p, n, heads=1)[0]
            first = torch.arange(n)
            s = Situation(torch.tensor([n]), n, 1, False, 5, {})
            each = p.order.each(n, 1)
            place = p.order.places(n, 1)
            slots = torch.arange(len(place))
            start = slots // max(each, 1) * each
            tile = s.tile(slots, slots, start, start + each)
            found = torch.zeros(len(place), len(place), dtype=torch.bool)
            for stretch in p.reach(tile):
                a, z = (x.maximum(start).minimum(start + each).expand(1, 1, -1)[0, 0] for x in stretch)
                found |= (slots >= a[:, None]) & (slots < z[:, None])
            kept = (place < n).nonzero()[:, 0]
            reached = torch.zeros(n, n, dtype=torch.bool)
            reached[place[kept][:, None], place[kept][None]] = found[kept][:, kept]
            if (hubs := p.hubs(first, torch.tensor([n]), {})) is not None:
                reached |= hubs[None] | (hubs[:, None] if p.hubs_read_all else False)
            if (drawn := p.scatter(s.tile(first, first, first * 0, first * 0 + n))) is not None:
                reached = reached.scatter(1, drawn[0, 0], True)
            assert not (allowed & ~reached).any(), p
            if p.exact(1):
                assert torch.equal(allowed, reached), p


def test_random_draws_are_of_their_sequence_and_head():
    """Whatever else is in the batch, and however it is padded; another seed, another graph."""
    p = Random(count=3)
    alone = pairs(p, 11)
    assert torch.equal(pairs(p, 11, longest=20)[:, :11, :11], alone) and not pairs(p, 11, longest=20)[:, :11, 11:].any()
    assert not torch.equal(alone[0], alone[1]), "each head has its own"
    assert alone.sum(-1).max() == 3 and (alone.sum(-1) >= 1).all()
    assert not torch.equal(pairs(Random(count=3, seed=1), 11), alone)
    early = pairs(p, 11, causal=True)
    assert not early.triu(1).any() and torch.equal(pairs(p, 20, causal=True)[:, :11, :11], early)


def test_random_draws_are_spread_evenly():
    n = 64
    hits = pairs(Random(count=40), n, heads=8).float().mean((0, 1))
    expected = 1 - (1 - 1 / n) ** 40
    assert (hits - expected).abs().max() < 5 * (expected * (1 - expected) / (8 * n)) ** 0.5


def test_unions_are_flat_and_written_with_a_bar():
    a, b, c = Band(left=1, right=1), Global(first=1), Strided(stride=3)
    assert (a | b | c) == (a | (b | c)) == Union(of=(a, Union(of=(b, c)))) and (a | b).members_of_union == (a, b)
    assert torch.equal(pairs(a | b | c, 9), pairs(a, 9) | pairs(b, 9) | pairs(c, 9))
    assert Pattern.parse((a | b).to_dict()) == a | b and hash(a | b) == hash(Pattern.parse((a | b).to_dict()))
    blocked = Blocked(size=4, pattern=a | b)
    assert blocked.members_of_union == (Blocked(size=4, pattern=a), Blocked(size=4, pattern=b))
    assert torch.equal(pairs(blocked, 9), pairs(Union(of=(blocked,)), 9))


def test_per_head_gives_each_group_its_own():
    a, b = Band(left=1, right=1), Random(count=1)
    got = pairs(PerHead(of=(a, b)), 9, heads=6)
    assert torch.equal(got[:3], pairs(a, 9, heads=3))
    assert len({tuple(h.flatten().tolist()) for h in got[3:]}) == 3, "heads of a group draw their own"
    with pytest.raises(Refused, match=r"2 patterns are shared out among 5 heads"):
        PerHead(of=(a, b)).check(site(n_heads=5))


@pytest.mark.parametrize(
    "pattern, memory",
    [
        (Band(left=5, right=2), (0, 6)),
        (Dilated(left=2, right=0, gap=4), (0, 9)),
        (Blocks(size=4, before=1), (0, 8)),
        (Segments(size=4, before=3), (0, 7)),
        (Rectangles(width=5, down=2, across=5, above=1), (0, 15)),
        (Global(first=3), (3, 1)),
        (Global(first=3, rows=False) | Band(left=5, right=0), (3, 6)),
        (PerHead(of=(Band(left=5, right=0), Global(first=2))), (2, 6)),
        (Blocked(size=4, pattern=Band(left=1, right=0) | Global(first=1)), (4, 8)),
        (Strided(stride=3), None),
        (Fixed(), None),
        (Random(), None),
        (Band() | Random(), None),
        (PerHead(of=(Band(), Strided())), None),
        (Blocked(pattern=Random()), None),
        (Global(last=1), None),
    ],
)
def test_what_decoding_must_hold(pattern, memory):
    assert pattern.memory == memory
    if memory is None:
        return
    first, last = memory
    got = pairs(pattern, 40).tril()
    for i in range(40):
        assert not got[:, i, first : max(i + 1 - last, first)].any(), "a row sees nothing that is let go"


def test_wrong_patterns_say_why():
    for wrong, why in [
        (lambda: Global(), r"name the hubs: first=, last= or tag="),
        (lambda: Fixed(stride=2, count=3), r"count must be at most stride, found 3 and 2"),
        (lambda: Union(of=()), r"a union names at least one pattern, and none per head"),
        (lambda: Union(of=(PerHead(of=(Band(), Band())),)), r"write the unions inside per_head"),
        (lambda: PerHead(of=()), r"per_head names at least one pattern"),
        (lambda: PerHead(of=(PerHead(of=(Band(),)),)), r"none of them is per_head itself"),
        (lambda: Blocked(pattern=Strided()), r"strided is said of rows, not of blocks"),
        (lambda: Blocked(pattern=Global(tag="x")), r"global is said of rows, not of blocks"),
        (lambda: Pattern.parse("bund"), r"there is no pattern called 'bund'; did you mean 'band'\?"),
    ]:
        with pytest.raises(SpecError, match=why):
            wrong()


def test_causal_stacks_refuse_what_looks_ahead_or_needs_marks():
    for pattern in (Global(last=1), Band() | Global(last=1), PerHead(of=(Band(), Global(first=1, last=1)))):
        with pytest.raises(Refused, match=r"layers\.1\.mixer: the last rows cannot be global in a causal stack"):
            pattern.check(site(True))
        pattern.check(site())
    with pytest.raises(Refused, match=r"rows marked 'x' cannot be global in a causal stack: decoding holds no marks"):
        (Band() | Global(tag="x")).check(site(True))
    with pytest.raises(Refused, match=r"the last rows cannot be global"):
        Blocked(pattern=Global(last=1)).check(site(True))
    with pytest.raises(TypeError, match="has no definition"):
        Pattern().allow(None)
