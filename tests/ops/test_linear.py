"""Linear maps of many rows as one product, by oneDNN and by torch's own: the same numbers and gradients."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from jorip.core.init import Linear
from jorip.ops import linear
from jorip.ops.linear import linears

SIZES = (24, 8, 16)


@pytest.fixture
def fast(monkeypatch):
    """The path of many rows, whatever this processor is."""
    if linear._product is None or not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(linear, "_FAST", True)
    monkeypatch.setattr(linear, "MANY", 1)


def maps(bias: bool, dtype: torch.dtype = torch.float32) -> list[nn.Linear]:
    torch.manual_seed(0)
    made = [Linear(20, n, bias).to(dtype) for n in SIZES]
    for p in (p for m in made for p in m.parameters()):
        nn.init.normal_(p)
    return made


def input_(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(50, 20, dtype=dtype, requires_grad=True)


def is_ours(y: torch.Tensor) -> bool:
    return "_Linears" in type(y.grad_fn).__name__


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_answers_and_gradients(bias, count, fast):
    some, x = maps(bias)[:count], input_()
    ys = linears(x, some)
    assert all(is_ours(y) for y in ys)
    want = [m(x) for m in some]
    for y, w in zip(ys, want):
        torch.testing.assert_close(y, w, rtol=0, atol=2e-5)
    gs = [torch.randn_like(w) for w in want]
    wrt = [x, *(p for m in some for p in m.parameters())]
    for one, other in zip(torch.autograd.grad(ys, wrt, gs), torch.autograd.grad(want, wrt, gs)):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("frozen", ["x", "weight", "bias", "a map"])
def test_what_needs_no_gradient_gets_none(frozen, fast):
    some, x = maps(True), input_()
    wrt = [x, *(p for m in some for p in m.parameters())]
    chosen = {
        "x": [x], "weight": [m.weight for m in some], "bias": [m.bias for m in some], "a map": [*some[1].parameters()],
    }[frozen]  # fmt: skip
    for p in chosen:
        p.requires_grad_(False)
    sum(y.square().sum() for y in linears(x, some)).backward()
    got = [None if p.grad is None else p.grad.clone() for p in wrt]
    for p in wrt:
        p.grad = None
    sum(m(x).square().sum() for m in some).backward()
    for g, p in zip(got, wrt):
        assert (g is None) == (p.grad is None) == (not p.requires_grad)
        if g is not None:
            torch.testing.assert_close(g, p.grad, rtol=1e-4, atol=1e-3)


def test_one_answer_alone(fast):
    """The gradients of the others are zeros then."""
    some, x = maps(True), input_()
    (g,) = torch.autograd.grad(linears(x, some)[1].sum(), x)
    (want,) = torch.autograd.grad(some[1](x).sum(), x)
    torch.testing.assert_close(g, want, rtol=0, atol=1e-5)


def test_second_derivatives(fast):
    some, x = maps(True), input_()

    def twice(ys):
        (g,) = torch.autograd.grad(sum(y.pow(3).sum() for y in ys), x, create_graph=True)
        return torch.autograd.grad(g.square().sum(), [x, *(m.weight for m in some)])

    for one, other in zip(twice(linears(x, some)), twice([m(x) for m in some])):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def test_where_it_is_left_to_torch(fast):
    """Other types, autocast, somebody who looks at the operations."""
    double = linears(input_(torch.float64), maps(True, torch.float64))
    assert not any(is_ours(y) for y in double) and double[0].dtype == torch.float64
    some, x = maps(True), input_()
    with torch.autocast("cpu", torch.bfloat16):
        assert linears(x, some)[0].dtype == torch.bfloat16
    with FlopCounterMode(display=False) as counter:
        linears(x, some)
    assert counter.get_total_flops() == 2 * 50 * 20 * sum(SIZES)


def test_few_rows_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(linear, "_FAST", True)
    assert not is_ours(linears(input_(), maps(True))[0])
