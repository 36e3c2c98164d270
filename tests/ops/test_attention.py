"""The fast form of attention equals its definition, for every mask and every way of lying in sequences."""

import pytest
import torch

from jorip.core.layout import Layout
from jorip.core.mask import Band, Causal, Everything, Same
from jorip.core.state import Kept
from jorip.ops.attention import attend, attend_reference, attention_weights

MASKS = [
    Everything(),
    Causal(),
    Band(2, 1),
    Causal() & Band(1, 5),
    Band(0, 0) | Causal(),
    Same("part"),
    Causal() & Same("part"),
]
LENGTHS = {"ragged": (4, 0, 6, 1), "full": (5, 5, 5), "nothing": (0, 0)}


def layout(lengths, start=None):
    at = Layout.of(torch.tensor(lengths), start=start)
    at.tags["part"] = at.order // 2
    return at


def draw(batch, heads, length, dim=4, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, heads, length, dim, generator=g, dtype=dtype).requires_grad_()


@pytest.mark.parametrize("heads, kv", [(2, 2), (4, 2), (3, 1)])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("mask", MASKS, ids=repr)
def test_fast_equals_reference(mask, lengths, heads, kv):
    at = layout(lengths)
    q = draw(at.batch, heads, at.longest)
    k, v = draw(at.batch, kv, at.longest, seed=1), draw(at.batch, kv, at.longest, seed=2)
    outs = []
    for form in (attend, attend_reference):
        for t in (q, k, v):
            t.grad = None
        y = form(q, k, v, mask, at, at, 0.37)
        y = y * at.real[:, None, :, None]  # what lies in holes is dropped by every caller
        y.pow(2).sum().backward()
        outs.append([y.detach(), *(torch.zeros_like(t) if t.grad is None else t.grad for t in (q, k, v))])
    for fast, slow in zip(*outs):
        assert fast.isfinite().all()
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mask", [Everything(), Causal(), Band(3, 0)], ids=repr)
@pytest.mark.parametrize("new", [(1, 1, 1), (2, 0, 3), (1, 1, 0)])
@pytest.mark.parametrize("before", [(4, 4, 4), (0, 5, 2)])
def test_fast_equals_reference_after_earlier_calls(mask, new, before):
    start = torch.tensor(before)
    q_at = Layout.of(torch.tensor(new), start=start)
    total = q_at.total
    k_at = Kept(total, int(total.max()))
    q, k, v = draw(3, 4, q_at.longest), draw(3, 2, k_at.longest, seed=1), draw(3, 2, k_at.longest, seed=2)
    real = q_at.real[:, None, :, None]
    fast, slow = (form(q, k, v, mask, q_at, k_at, 0.5) * real for form in (attend, attend_reference))
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", [attend, attend_reference])
def test_a_row_that_sees_nothing_gives_zeros_and_zero_gradient(form, dtype):
    q_at, k_at = layout((3, 3, 2)), layout((2, 0, 4))
    for mask in (Everything(), Band(-1, 1)):  # the band begins after the row itself: the last rows see nothing
        q, k, v = (draw(3, 2, n, dtype=dtype) for n in (3, 4, 4))
        y = form(q, k, v, mask, q_at, k_at, 0.5)
        y.sum().backward()
        blind = ~mask.dense(q_at, k_at).any(-1)[:, 0]
        assert blind[1].all()
        assert (y.transpose(1, 2)[blind] == 0).all() and (q.grad.transpose(1, 2)[blind] == 0).all()
        assert all(t.grad is not None and t.grad.isfinite().all() for t in (q, k, v))
        assert (k.grad[1] == 0).all() and (v.grad[1] == 0).all()


def test_weights_are_a_distribution_and_softmax_runs_in_float32():
    at = layout((3, 5))
    q, k = (draw(2, 2, 5, seed=s, dtype=torch.bfloat16) for s in (0, 1))
    w = attention_weights(q, k, Causal(), at, at, 0.5)
    assert w.dtype == torch.bfloat16
    seen = Causal().dense(at, at)
    assert (w.masked_select(~seen) == 0).all()
    exact = attention_weights(q.double(), k.double(), Causal(), at, at, 0.5)
    assert (w.double() - exact).abs().max() < 0.01
    bias = torch.zeros(1, 2, 5, 5, dtype=torch.bfloat16)
    bias[..., 0] = 50.0  # a bias is added to the scores
    biased = attention_weights(q, k, Causal(), at, at, 0.5, bias)
    assert (biased[..., 0] > 0.99).all()


def test_reference_applies_dropout_to_the_weights():
    at = layout((3,))
    q = draw(1, 1, 3)
    assert (attend_reference(q, q, q, Everything(), at, at, 1.0, drop=torch.zeros_like) == 0).all()
