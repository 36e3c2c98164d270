"""Ragged examples and windows over a stream."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jorip.core.errors import DataError
from jorip.data.store import LanguageModelWindows, RaggedStore

LISTS = st.lists(st.lists(st.integers(0, 2**20), max_size=6), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(lists=LISTS, data=st.data())
def test_take_is_the_examples_one_after_the_other(lists, data):
    store = RaggedStore.of(lists)
    ids = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=20))
    batch = store.take(ids)
    assert [s.tolist() for s in batch.split()] == [lists[i] for i in ids]
    assert batch.uid.tolist() == ids and batch.values.dtype == torch.int64
    assert store.sizes.tolist() == [len(x) for x in lists]
    assert [store[i].tolist() for i in range(len(store))] == lists


def test_small_and_large_numbers_and_the_fingerprint():
    assert RaggedStore.of([[1, 2], []]).values.dtype == torch.int32
    wide = RaggedStore.of([[2**40]])
    assert wide.values.dtype == torch.int64 and wide[0].tolist() == [2**40]
    prints = {RaggedStore.of(x).fingerprint() for x in ([[1, 2], [3]], [[1], [2, 3]], [[1, 2], [4]])}
    assert len(prints) == 3
    assert RaggedStore.of([[1, 2], [3]]).fingerprint() in prints
    with pytest.raises(IndexError):
        wide[1]
    assert len(RaggedStore.of([])) == 0 and RaggedStore.of([]).take([]).values.tolist() == []


def test_rows_with_width():
    store = RaggedStore(torch.arange(12.0).view(6, 2), torch.tensor([0, 1, 6]))
    assert store.take([1, 0]).values.shape == (6, 2)
    assert torch.equal(store.take([1, 0]).values[-1], torch.tensor([0.0, 1.0]))


@settings(deadline=None, max_examples=60)
@given(n=st.integers(2, 60), length=st.integers(1, 20))
def test_evaluation_windows_predict_every_target_once(n, length):
    windows = LanguageModelWindows(torch.arange(n), length)
    inputs, targets = windows.take(range(len(windows)))
    assert targets.values.tolist() == list(range(1, n))
    assert inputs.values.tolist() == list(range(n - 1))
    assert inputs.lengths.tolist() == windows.sizes.tolist()


@settings(deadline=None, max_examples=60)
@given(n=st.integers(2, 60), length=st.integers(1, 20), epoch=st.integers(0, 5))
def test_training_windows_move_with_the_epoch(n, length, epoch):
    windows = LanguageModelWindows(torch.arange(n), length, seed=3)
    inputs, targets = windows.take(range(len(windows)), epoch)
    assert torch.equal(targets.values, inputs.values + 1)
    assert inputs.values[0] == windows.offset(epoch)
    assert torch.equal(inputs.values, torch.arange(len(inputs.values)) + inputs.values[0])
    assert int(targets.values[-1]) < n
    assert n - 1 - len(inputs.values) < 2 * length
    if n > length:
        assert set(windows.sizes.tolist()) == {length}


def test_offsets_reach_every_place_and_the_input_is_refused_when_too_short():
    windows = LanguageModelWindows(torch.arange(1000), 8, seed=1)
    assert len({windows.offset(e) % 8 for e in range(200)}) == 8
    assert windows.fingerprint() != LanguageModelWindows(torch.arange(1000), 9, seed=1).fingerprint()
    with pytest.raises(DataError, match="needs at least two tokens of text; found 1"):
        LanguageModelWindows(torch.zeros(1, dtype=torch.int64), 8)
    with pytest.raises(DataError, match="length of at least 1 token; found 0"):
        LanguageModelWindows(torch.zeros(9, dtype=torch.int64), 0)
