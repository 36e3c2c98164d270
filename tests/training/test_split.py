from hypothesis import given
from hypothesis import strategies as st

from jorip.training.split import micro_batches, share

sizes = st.lists(st.integers(1, 50), min_size=0, max_size=40)


@given(sizes, st.integers(1, 5))
def test_ranks_get_a_partition(sizes, ranks):
    ids = [100 + i for i in range(len(sizes))]
    shares = share(ids, sizes, ranks)
    assert len(shares) == ranks
    assert sorted(i for s in shares for i in s) == ids
    loads = [sum(sizes[i - 100] for i in s) for s in shares]
    assert max(loads) - min(loads) <= max(sizes, default=0)


@given(sizes, st.none() | st.integers(1, 120))
def test_micro_batches_are_a_partition_within_the_limit(sizes, limit):
    ids = [100 + i for i in range(len(sizes))]
    parts = micro_batches(ids, sizes, limit)
    assert sorted(i for p in parts for i in p) == ids
    assert all(parts)
    for p in parts:
        assert limit is None or len(p) == 1 or sum(sizes[i - 100] for i in p) <= limit


def test_order_is_kept_when_nothing_is_cut():
    assert micro_batches([3, 1, 2], [5, 9, 7], 21) == [[3, 1, 2]]
    assert share([3, 1, 2], [5, 9, 7], 1) == [[3, 1, 2]]
    assert micro_batches([3, 1, 2], [5, 9, 7], 12) == [[1], [2, 3]]
