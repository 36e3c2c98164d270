"""Masks against their definition, spelled out pair by pair."""

import pytest
import torch

from jorip.core.layout import Layout
from jorip.core.mask import Band, Causal, Everything, Prefix, Same
from jorip.core.state import Kept

RULES = {
    "everything": (Everything(), lambda q, k: True),
    "causal": (Causal(), lambda q, k: k <= q),
    "band": (Band(1, 2), lambda q, k: q - 1 <= k <= q + 2),
    "both": (Causal() & Band(2, 2), lambda q, k: q - 2 <= k <= q),
    "either": (Band(0, 0) | Band(-3, 3), lambda q, k: k == q or k == q + 3),
    "same": (Same("part"), lambda q, k: q // 2 == k // 2),
    "same and causal": (Same("part") & Causal(), lambda q, k: q // 2 == k // 2 and k <= q),
}


@pytest.mark.parametrize("mask, rule", RULES.values(), ids=RULES)
def test_dense_is_the_rule(mask, rule):
    at = Layout.of(torch.tensor([4, 0, 6]))
    at.tags["part"] = at.order // 2
    dense = mask.dense(at, at)
    assert dense.shape == (3, 1, 6, 6) and dense.dtype == torch.bool
    for b, n in enumerate((4, 0, 6)):
        for q in range(n):
            for k in range(6):
                assert bool(dense[b, 0, q, k]) == (k < n and rule(q, k)), (b, q, k)


def test_dense_with_earlier_rows():
    at = Layout.of(torch.tensor([1, 2]), start=torch.tensor([3, 0]))
    seen = Causal().dense(at, Kept(at.total, 4))
    assert seen[0, 0, 0].tolist() == [True] * 4
    assert seen[1, 0].tolist() == [[True, False, False, False], [True, True, False, False]]


def test_a_prefix_is_seen_in_both_directions():
    at = Layout.of(torch.tensor([4, 0, 3]))
    seen = Prefix(torch.tensor([2, 0, 0])).dense(at, at)
    assert seen[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert seen[2, 0, :3, :3].int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    step = Layout.of(torch.tensor([1, 1]), start=torch.tensor([3, 1]))
    assert Prefix(torch.tensor([2, 4])).dense(step, Kept(step.total, 4))[:, 0, 0].int().tolist() == [
        [1, 1, 1, 1],
        [1, 1, 0, 0],
    ]
    assert not Prefix(torch.tensor([1])).causal and not Prefix(torch.tensor([1])).everything


def test_simplifications_and_what_is_causal():
    c, e, b = Causal(), Everything(), Band(1, 1)
    assert (e & c) is c and (c & e) is c and (c | e) is e and (e | c) is e
    assert not (c & b).everything and not (c | b).everything
    assert c.causal and (c & b).causal and (b & c).causal and not (c | b).causal and (c | c).causal
    assert not b.causal and not e.causal and e.everything
