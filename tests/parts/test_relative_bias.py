"""T5's relative bias against its definition, offset by offset."""

import math

import pytest
import torch

from jorip.core.context import Context
from jorip.core.errors import Refused
from jorip.core.layout import Layout
from jorip.core.site import Site
from jorip.parts.position.relative_bias import RelativeBias, bucket

SITE = Site("position", d_model=8, n_heads=2, n_kv_heads=2, head_dim=4)
CAUSAL = Site("position", d_model=8, n_heads=2, n_kv_heads=2, head_dim=4, causal=True)


def by_hand(offset: int, buckets: int, longest: int, causal: bool) -> int:
    """A later key is in the second half of the buckets; exact up to half, then by the logarithm."""
    first = 0
    if not causal:
        buckets //= 2
        first = buckets if offset > 0 else 0
    distance = max(-offset, 0) if causal else abs(offset)
    exact = buckets // 2
    if distance < exact:
        return first + distance
    far = exact + int(math.log(distance / exact) / math.log(longest / exact) * (buckets - exact) + 1e-9)
    return first + min(far, buckets - 1)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("buckets, longest", [(32, 128), (8, 20), (5, 3), (33, 100), (4, 3)])
def test_buckets(buckets, longest, causal):
    offsets = torch.arange(-300, 301)
    got = bucket(offsets, buckets, longest, causal).tolist()
    assert got == [by_hand(o, buckets, longest, causal) for o in offsets.tolist()]


def test_the_papers_defaults():
    """Eight offsets of each direction have a bucket of their own; from 128 on all share one."""
    got = bucket(torch.tensor([0, -1, -7, -8, -15, -16, -127, -128, -5000, 1, 7, 8, 5000]), 32, 128, False)
    assert got.tolist() == [0, 1, 7, 8, 9, 10, 15, 15, 15, 17, 23, 24, 31]
    got = bucket(torch.tensor([5, 1, 0, -15, -16, -127, -128]), 32, 128, True)
    assert got.tolist() == [0, 0, 0, 15, 16, 31, 31]


@pytest.mark.parametrize("site", [SITE, CAUSAL])
def test_bias_is_the_table_by_offset(site):
    module = RelativeBias(buckets=6, max_distance=4).build(site)
    torch.nn.init.normal_(module.weight)
    for q_at, k_at in (
        (Layout.of(torch.tensor([5, 2])), Layout.of(torch.tensor([5, 2]))),
        (Layout.of(torch.tensor([1, 2]), start=torch.tensor([6, 0])), Layout.of(torch.tensor([7, 2]))),
    ):
        got = module.bias(q_at, k_at, Context())
        for b, start in enumerate([0] if q_at.start is None else q_at.start.tolist()):
            for i in range(q_at.longest):
                for j in range(k_at.longest):
                    want = module.weight[by_hand(j - i - start, 6, 4, site.causal)]
                    assert torch.equal(got[b, :, i, j], want)


def test_begins_as_t5_does():
    module = RelativeBias(buckets=4096, max_distance=9999).build(CAUSAL)
    with torch.no_grad():
        module.reset_own("weight", module.weight, torch.Generator().manual_seed(0))
    assert abs(float(module.weight.detach().std()) / 8**-0.5 - 1) < 0.05
    assert "buckets=4096, max_distance=9999, causal=True" in repr(module)


def test_refusals():
    with pytest.raises(Refused, match="position: a stack that sees both ways needs at least 4 buckets, found 3"):
        RelativeBias(buckets=3).build(SITE)
    RelativeBias(buckets=2, max_distance=2).check(CAUSAL)
    message = "max_distance must be above 16, up to where each of the 32 buckets is one offset, found 16"
    with pytest.raises(Refused, match=message):
        RelativeBias(max_distance=16).build(CAUSAL)
