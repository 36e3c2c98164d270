"""States: append, grow, select, snapshot, restore, size."""

import pytest
import torch

from jorip.core.layout import Layout
from jorip.core.state import KeyValue, ModelState, Source
from jorip.parts.mixer.convolution import Window
from jorip.parts.mixer.recurrent import Hidden


def filled(grad=False):
    """Two sequences, 3 and 1 rows, of one head of width 2; capacity 2 had to grow."""
    state = KeyValue.empty(2, 2, {"k": (1, 2)}, torch.float32)
    rows = torch.arange(8.0).view(4, 1, 2) + 1
    with torch.set_grad_enabled(grad):
        views, at = state.append({"k": rows}, Layout.of(torch.tensor([3, 1])))
    return state, views["k"], at


@pytest.mark.parametrize("grad", [False, True])
def test_append_and_grow(grad):
    state, view, at = filled(grad)
    assert view.shape == (2, 1, 3, 2) and at.lengths.tolist() == [3, 1] and at.longest == 3
    assert view[0, 0].tolist() == [[1, 2], [3, 4], [5, 6]] and view[1, 0, 0].tolist() == [7, 8]
    assert not at.full and at.batch == 2 and at.real.tolist() == [[True] * 3, [True, False, False]]
    with torch.set_grad_enabled(grad):
        step = Layout.of(torch.tensor([0, 2]), start=state.lengths)
        views, at = state.append({"k": torch.full((2, 1, 2), 9.0)}, step)
    assert at.full and views["k"][1, 0].tolist() == [[7, 8], [9, 9], [9, 9]]


def test_widths_under_autocast():
    state = KeyValue.empty(1, 4, {"k": (1, 2)}, torch.float32)
    views, _ = state.append({"k": torch.ones(2, 1, 2, dtype=torch.bfloat16)}, Layout.of(torch.tensor([2])))
    assert views["k"].dtype == torch.float32


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("rows", [[1, 0], [1, 1, 0, 1], [1], []])
def test_select(rows, grad):
    state, view, _ = filled()
    want = view.clone()[torch.tensor(rows, dtype=torch.int64)]
    with torch.set_grad_enabled(grad):
        state.select(torch.tensor(rows, dtype=torch.int64))
    assert state.lengths.tolist() == [[3, 1][r] for r in rows]
    assert torch.equal(state.streams["k"][:, :3].transpose(1, 2), want)
    assert state.streams["k"].isfinite().all()


def test_snapshot_is_a_copy():
    state, _, _ = filled()
    saved = state.snapshot()
    for _ in range(2):
        state.append({"k": torch.zeros(2, 1, 2)}, Layout.of(torch.tensor([1, 1]), start=state.lengths))
        state.select(torch.tensor([1]))
        state.restore(saved)
        assert state.lengths.tolist() == [3, 1] and state.streams["k"][0, 2, 0].tolist() == [5, 6]


def test_plain_states():
    h = Hidden(torch.arange(6.0).view(3, 2), torch.zeros(3, 2))
    saved = h.snapshot()
    h.select(torch.tensor([2, 2]))
    assert h.h.tolist() == [[4, 5], [4, 5]] and h.c is not None and h.c.shape == (2, 2) and h.nbytes == 32
    h.restore(saved)
    assert h.h.shape == (3, 2)
    assert Hidden(torch.zeros(1, 2), None).snapshot().c is None
    w = Window(torch.zeros(2, 3, 4))
    both = w.slide(torch.ones(2, 2, 4), Layout.of(torch.tensor([2, 1])))
    assert both.shape == (2, 5, 4) and w.rows[..., 0].tolist() == [[0, 1, 1], [0, 0, 1]]


def test_sources_are_held_once():
    state = Source.empty(2)
    k = torch.arange(12.0).view(2, 1, 3, 2)
    state.keep({"k": k}, Layout.of(torch.tensor([3, 2])))
    assert state.read()["k"] is k and state.span().lengths.tolist() == [3, 2]
    before = state.nbytes
    state.select(torch.tensor([0, 0, 1]))
    assert torch.equal(state.read()["k"], k[[0, 0, 1]]) and state.span().lengths.tolist() == [3, 3, 2]
    assert state.nbytes == before + 8, "one more row number, no more keys"
    saved = state.snapshot()
    state.select(torch.tensor([2]))
    assert torch.equal(state.read()["k"], k[[1]][:, :, : state.span().longest]) and state.span().lengths.tolist() == [2]
    state.restore(saved)
    assert torch.equal(state.read()["k"], k[[0, 0, 1]])


def test_model_state():
    part, _, _ = filled()
    state = ModelState({"a": part, "b": Source.empty(2)}, torch.tensor([3, 1]))
    saved = state.snapshot()
    state.select(torch.tensor([1]))
    assert state.lengths.tolist() == [1] and part.lengths.tolist() == [1] and state.nbytes > 0
    state.restore(saved)
    assert state.lengths.tolist() == [3, 1] and part.lengths.tolist() == [3, 1]
