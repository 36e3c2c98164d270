"""Plans are exact, repeatable, and alike in length."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jorip.data.batches import plan_batches, share, split_micro
from jorip.data.check import padded_share

SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=60)


@settings(deadline=None, max_examples=80)
@given(
    sizes=SIZES,
    tokens=st.integers(1, 60),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 3),
    shuffle=st.booleans(),
    bucket=st.integers(0, 4),
    most=st.none() | st.integers(1, 5),
)
def test_every_example_once_within_the_budget(sizes, tokens, seed, epoch, shuffle, bucket, most):
    plan = plan_batches(sizes, tokens, seed, epoch, shuffle, most, bucket)
    assert sorted(i for ids in plan for i in ids) == list(range(len(sizes)))
    for ids in plan:
        assert sum(sizes[i] for i in ids) <= tokens or len(ids) == 1
        assert len(ids) <= (most or len(sizes))
    assert plan == plan_batches(torch.tensor(sizes), tokens, seed, epoch, shuffle, most, bucket)


def test_epochs_and_seeds_differ_and_global_random_state_does_not_matter():
    sizes = torch.randint(1, 40, (500,), generator=torch.Generator().manual_seed(0))
    plans = [plan_batches(sizes, 200, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(a != b for i, a in enumerate(plans) for b in plans[:i])
    torch.manual_seed(5)
    assert plan_batches(sizes, 200, 0, 0) == plans[0]
    fixed = plan_batches(sizes, 200, 0, 0, shuffle=False)
    assert fixed == plan_batches(sizes, 200, 7, 3, shuffle=False)
    assert [int(sizes[i]) for ids in fixed for i in ids] == sorted(sizes.tolist())
    assert [i for ids in plan_batches(sizes, 200, 0, 0, shuffle=False, bucket=0) for i in ids] == list(range(500))
    assert plan_batches([], 10, 0, 0) == []


def test_buckets_hold_similar_lengths_and_nearly_fill_the_budget():
    sizes = torch.randint(1, 100, (5000,), generator=torch.Generator().manual_seed(1))
    assert padded_share(sizes, plan_batches(sizes, 2000, 0, 0)) < 0.05
    assert padded_share(sizes, plan_batches(sizes, 2000, 0, 0, bucket=0)) > 0.4
    plan = plan_batches(sizes, 2000, 0, 0)
    assert int(sizes.sum()) / (2000 * len(plan)) > 0.96
    first = [sum(int(sizes[i]) for i in ids) / len(ids) for ids in plan[:20]]
    assert max(first) > 2 * min(first)  # short and long batches are mixed in time


@settings(deadline=None, max_examples=80)
@given(sizes=SIZES, tokens=st.integers(1, 60), world=st.integers(1, 5))
def test_parts_and_shares_are_exact(sizes, tokens, world):
    ids = plan_batches(sizes, 10**6, 0, 0)[0]
    parts = split_micro(ids, sizes, tokens)
    assert [i for part in parts for i in part] == ids
    assert all(sum(sizes[i] for i in part) <= tokens or len(part) == 1 for part in parts)
    shares = [share(ids, sizes, rank, world) for rank in range(world)]
    assert sorted(i for s in shares for i in s) == sorted(ids)
    assert all([i for i in ids if i in set(s)] == s for s in shares)
    loads = [sum(sizes[i] for i in s) for s in shares]
    assert max(loads) - min(loads) <= max(sizes)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_nothing_to_split():
    assert split_micro([], [1], 5) == [] and share([], [1], 0, 2) == []
