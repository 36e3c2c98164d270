"""Outputs normalised head by head, a few rows at a time: against the definition, forwards and backwards."""

import pytest
import torch

from jorip.ops import head_norm as module
from jorip.ops.head_norm import head_norm, head_norm_reference

EPS = 1e-5


def made(*shape: int, dtype=torch.float64) -> torch.Tensor:
    """Rows apart, as projections are."""
    batch, heads, length, dim = shape
    x = torch.randn(batch, length, heads * dim, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)
    return x.view(batch, length, heads, dim).transpose(1, 2).requires_grad_()


@pytest.mark.parametrize("few", [1, 40, 2**17])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 11, 5), (1, 1, 1, 2), (2, 2, 0, 4), (3, 2, 7, 1)])
def test_is_the_definition(shape, centred, gated, few, monkeypatch):
    monkeypatch.setattr(module, "CACHED", few)
    y, g, gz = made(*shape), made(*shape) if gated else None, made(*shape).detach().cos()
    inputs = [y] if g is None else [y, g]
    want, found = head_norm_reference(y, g, centred, EPS), head_norm(y, g, centred, EPS)
    torch.testing.assert_close(found, want)
    for a, b in zip(torch.autograd.grad(found, inputs, gz), torch.autograd.grad(want, inputs, gz)):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("centred", [True, False])
def test_rows_of_zeros(centred):
    y, g = torch.zeros(1, 2, 3, 4, requires_grad=True), torch.ones(1, 2, 3, 4, requires_grad=True)
    z = head_norm(y, g, centred, EPS)
    z.sum().backward()
    assert not z.any() and y.grad.isfinite().all() and not g.grad.any()


@pytest.mark.parametrize("centred", [True, False])
def test_bfloat16_has_its_statistics_in_float32(centred):
    y, g = made(2, 2, 9, 64, dtype=torch.float32), made(2, 2, 9, 64, dtype=torch.float32).detach().cos()
    want = head_norm_reference(y.bfloat16().float(), g.bfloat16().float(), centred, EPS)
    found = head_norm(y.bfloat16(), g.bfloat16(), centred, EPS)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), want, rtol=0.01, atol=0.01)


def test_keeps_only_its_inputs():
    y, g = made(1, 2, 50, 8), made(1, 2, 50, 8)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.data_ptr()) or x, lambda x: x):
        head_norm(y, g, True, EPS)
    assert set(kept) == {y.data_ptr(), g.data_ptr()}
