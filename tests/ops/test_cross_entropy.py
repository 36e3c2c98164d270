"""The fast cross-entropy is torch's, values and gradients, also where probabilities underflow."""

import pytest
import torch

from jorip.ops.cross_entropy import cross_entropy, cross_entropy_reference


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
def test_fast_equals_reference(smoothing, dtype, tolerance, scale):
    torch.manual_seed(0)
    x = (torch.randn(40, 17, dtype=torch.float64) * scale).to(dtype)
    t = torch.randint(17, (40,))
    found = []
    for f in (cross_entropy, cross_entropy_reference):
        logits = x.clone().requires_grad_()
        loss = f(logits, t, smoothing)
        (loss * 0.3).backward()
        found.append((loss.detach(), logits.grad))
    assert torch.allclose(found[0][0], found[1][0], rtol=tolerance, atol=0)
    assert torch.allclose(found[0][1], found[1][1], rtol=0, atol=tolerance)
    with torch.no_grad():
        assert torch.allclose(cross_entropy(x, t, smoothing), found[1][0], rtol=tolerance, atol=0)


def test_low_precision_is_summed_in_float32_and_nothing_gives_zero():
    x = torch.randn(3, 5, dtype=torch.bfloat16, requires_grad=True)
    loss = cross_entropy(x, torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss.dtype == torch.float32 and x.grad.dtype == torch.bfloat16
    empty = torch.zeros(0, 5, requires_grad=True)
    loss = cross_entropy(empty, torch.zeros(0, dtype=torch.int64), 0.1)
    loss.backward()
    assert loss == 0 and empty.grad.shape == (0, 5)


def test_not_a_number_stays_one():
    x = torch.tensor([[float("nan"), 1.0]], requires_grad=True)
    assert cross_entropy(x, torch.tensor([1])).isnan()
