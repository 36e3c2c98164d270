"""Selecting rows of a decoding state: in place without gradients, by copy with them, the same either way."""

import pytest
import torch

from jorip.core.layout import Layout
from jorip.core.state import KeyValue, Source


def filled(lengths):
    g = torch.Generator().manual_seed(0)
    state = KeyValue.empty(len(lengths), 8, {"k": (2, 3)}, torch.float32)
    at = Layout.of(torch.tensor(lengths))
    state.append({"k": torch.randn(len(at.order), 2, 3, generator=g)}, at)
    return state


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0, 1], [1, 1, 1], [0, 2], [2, 2], [], [0, 0, 1, 1, 2, 2]])
def test_selected_rows_go_on_as_the_rows_they_were(rows):
    rows = torch.tensor(rows, dtype=torch.int64)
    start = filled([3, 1, 4])
    with torch.no_grad():
        state = start.snapshot()
        state.select(rows)
        assert state.lengths.tolist() == start.lengths[rows].tolist()
        new = torch.randn(len(rows), 2, 3)
        views, kept = state.append({"k": new}, Layout.of(torch.ones_like(rows), start=state.lengths))
    for i, row in enumerate(rows.tolist()):
        n = int(start.lengths[row])
        assert torch.equal(views["k"][i, :, :n], start.streams["k"][row, :n].transpose(0, 1))
        assert torch.equal(views["k"][i, :, n], new[i])
    assert torch.isfinite(views["k"]).all() and kept.lengths.tolist() == state.lengths.tolist()
    with torch.enable_grad():
        other = start.snapshot()
        other.select(rows)
    longest = int(start.lengths.max())
    assert torch.equal(other.streams["k"][:, :longest].sum((1, 2, 3)), start.streams["k"][rows].sum((1, 2, 3)))


def test_a_source_is_held_once_and_let_go_when_nobody_reads_it():
    g = torch.arange(3.0)[:, None, None, None].expand(3, 1, 4, 1)
    state = Source.empty(3)
    state.keep({"k": g}, Layout.of(torch.tensor([4, 2, 3])))
    state.select(torch.tensor([0, 0, 1, 1, 2, 2]))
    assert state.per_source == 2 and state.nbytes == g.nbytes + 6 * 8
    saved = state.snapshot()
    state.select(torch.tensor([3, 2, 5, 5]))
    assert state.per_source == 2 and state.streams["k"].shape == (2, 1, 3, 1)  # as long as the longest that is left
    assert state.read()["k"][:, 0, 0, 0].tolist() == [1, 1, 2, 2] and state.span().lengths.tolist() == [2, 2, 3, 3]
    state.select(torch.tensor([0, 2, 3]))
    assert state.per_source is None
    state.restore(saved)
    assert state.per_source == 2 and state.read()["k"][:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]
    state.select(torch.tensor([], dtype=torch.int64))
    assert len(state.read()["k"]) == 0
