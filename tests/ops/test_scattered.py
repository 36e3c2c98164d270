"""Single edges against dense softmax over the same pairs: values, log-sum-exp, gradients of both."""

import pytest
import torch

from jorip.ops import scattered as ops
from jorip.ops.scattered import attend_scattered
from jorip.ops.tiles import BLIND, merge
from tests.contracts.zoo import close
from tests.ops.test_tiles import dense


def case(seed: int, own: bool, dtype=torch.float64):
    """Six keys at most for each of seven queries, some of none; a graph for each of four sequences, or one."""
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(4, 7, 4, generator=g, dtype=torch.float64).to(dtype)
    k, v = (torch.randn(4, 9, d, generator=g, dtype=torch.float64).to(dtype) for d in (4, 5))
    keys = torch.stack([torch.randperm(9, generator=g)[:6] for _ in range((4 if own else 2) * 7)]).view(-1, 7, 6)
    keys = keys.masked_fill(torch.rand(keys.shape, generator=g) < 0.4, -1)
    keys[0, 2] = -1
    seen = torch.zeros(len(keys), 7, 10, dtype=torch.bool).scatter(2, keys % 10, True)[..., :9]
    return q, k, v, keys, seen.repeat(4 // len(keys), 1, 1)


@pytest.mark.parametrize("each", [1, 50, 2**20])
@pytest.mark.parametrize("own", [False, True])
def test_edges_are_dense_softmax(own, each, monkeypatch):
    monkeypatch.setattr(ops, "GATHERED", each)
    for seed in range(3):
        q, k, v, keys, seen = case(seed, own)
        x = [i.requires_grad_() for i in (q, k, v)]
        got, want = attend_scattered(q, k, v, keys, 0.3), dense(q, k, v, seen, 0.3)
        for a, b in zip(got, want):
            close(a, b)
        some = seen.any(-1)
        assert not some.all() and (got[1][~some] == BLIND).all() and not got[0][~some].any()
        w = [torch.randn_like(o) for o in got]
        total = lambda o: (o[0] * w[0]).sum() + (o[1] * w[1])[some].sum()  # noqa: B023, E731
        for a, b in zip(torch.autograd.grad(total(got), x), torch.autograd.grad(total(want), x)):
            close(a, b)


def test_gradcheck():
    q, k, v, keys, _ = case(5, True)
    x = tuple(i.requires_grad_() for i in (q, k, v))
    assert torch.autograd.gradcheck(lambda *x: attend_scattered(*x, keys, 0.3)[0], x)


def test_parts_join():
    q, k, v, keys, _ = case(6, True)
    two = [attend_scattered(q, k, v, part, 0.3) for part in (keys[..., :2], keys[..., 2:])]
    close(merge(two), attend_scattered(q, k, v, keys, 0.3)[0])


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_narrow_numbers(dtype, tolerance):
    q, k, v, keys, seen = case(7, True, dtype)
    x = [i.requires_grad_() for i in (q, k, v)]
    y, lse = attend_scattered(*x, keys, 0.3)
    exact = [i.detach().double().requires_grad_() for i in x]
    want, want_lse = dense(*exact, seen, 0.3)
    assert y.dtype == dtype and lse.dtype == torch.float32
    torch.testing.assert_close(y.double(), want, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(lse.double(), want_lse, rtol=tolerance, atol=tolerance)
    w = torch.randn_like(want)
    for a, b in zip(torch.autograd.grad(y, x, w.to(dtype)), torch.autograd.grad(want, exact, w)):
        torch.testing.assert_close(a.double(), b, rtol=2 * tolerance, atol=2 * tolerance)


def test_no_rows():
    nothing = torch.zeros(2, 0, 4)
    y, lse = attend_scattered(nothing, nothing, nothing, torch.zeros(1, 0, 3, dtype=torch.int64), 1.0)
    assert y.shape == (2, 0, 4) and lse.shape == (2, 0)
