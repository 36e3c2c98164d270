"""A few queries that read everything, against the definition; and putting their answers where they belong."""

import pytest
import torch
from torch import Tensor

from jorip.ops import few
from jorip.ops.few import attend_few, put_rows

BATCH, HEADS, KEYS, DIM = 2, 3, 11, 4


def dense(q: Tensor, k: Tensor, v: Tensor, unseen: Tensor | None, scale: float) -> Tensor:
    scores = q @ k.transpose(-1, -2) * scale
    scores = scores if unseen is None else scores + unseen[:, None, None]
    return scores.softmax(-1).nan_to_num() @ v


def streams(count: int) -> list[Tensor]:
    """Keys and values are views into one product, as projections are."""
    draw = torch.Generator().manual_seed(count)
    q = torch.randn(BATCH, HEADS, count, DIM, generator=draw, dtype=torch.float64)
    kv = torch.randn(BATCH, KEYS, 2, HEADS, DIM, generator=draw, dtype=torch.float64).permute(2, 0, 3, 1, 4)
    return [x.requires_grad_() for x in (q, *kv)]


@pytest.mark.parametrize("count", [1, 4, 7])
@pytest.mark.parametrize("cached", [1, 2**19])
@pytest.mark.parametrize("holes", [None, 1, BATCH])
def test_equals_the_definition(count, cached, holes, monkeypatch):
    """In steps of one head and three queries, and in one."""
    monkeypatch.setattr(few, "STRETCH", cached)
    monkeypatch.setattr(few, "_FEW", 3)
    unseen = None
    if holes:
        unseen = torch.zeros(holes, KEYS, dtype=torch.float64)
        unseen[0, 5:] = float("-inf")
        unseen[-1, :2] = float("-inf")
    q, k, v = streams(count)
    y, want = attend_few(q, k, v, unseen, 0.7), dense(q, k, v, unseen, 0.7)
    torch.testing.assert_close(y, want, rtol=0, atol=1e-12)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(9), dtype=y.dtype)
    for one, other in zip(torch.autograd.grad(y, (q, k, v), g), torch.autograd.grad(want, (q, k, v), g)):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_what_sees_nothing_gets_zeros():
    q, k, v = streams(2)
    unseen = torch.zeros(BATCH, KEYS, dtype=torch.float64)
    unseen[1] = float("-inf")
    y = attend_few(q, k, v, unseen, 1.0)
    assert bool((y[1] == 0).all()) and bool((y[0] != 0).all())
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(y.sum(), (q, k, v)))


def test_keys_are_not_copied():
    q, k, v = streams(2)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.data_ptr()) or x, lambda x: x):
        attend_few(q, k, v, None, 1.0)
    assert {k.data_ptr(), v.data_ptr()} <= set(kept)


@pytest.mark.parametrize("grad", [True, False])
def test_put_rows(grad):
    y = torch.randn(BATCH, HEADS, 6, DIM, dtype=torch.float64)
    z = torch.randn(BATCH, HEADS, 3, DIM, dtype=torch.float64, requires_grad=grad)
    at = torch.tensor([[4, 0, -1], [-1, 5, 2]])
    want, before = y.clone(), y.clone()
    for b, row in enumerate(at.tolist()):
        for i, place in enumerate(row):
            if place >= 0:
                want[b, :, place] = z.detach()[b, :, i]
    y.requires_grad_(grad)
    found = put_rows(y, at, z)
    torch.testing.assert_close(found.detach(), want, rtol=0, atol=0)
    if not grad:
        return
    assert torch.equal(y, before), "what a backward may still need is not touched"
    gy, gz = torch.autograd.grad(found.sum(), (y, z))
    gone = torch.zeros(BATCH, 6, dtype=torch.bool)
    gone[0, [4, 0]] = gone[1, [5, 2]] = True
    assert torch.equal(gy, (~gone)[:, None, :, None].expand_as(y).double())
    assert torch.equal(gz, (at >= 0)[:, None, :, None].expand_as(z).double())
