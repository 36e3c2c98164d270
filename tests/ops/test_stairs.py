"""Attention in stairs over a mask that hides everything later: against the definition, forwards and backwards."""

import pytest
import torch

from jorip.core.layout import Layout
from jorip.core.mask import Mask
from jorip.ops import stairs
from jorip.ops.attention import attend_reference, hidden
from jorip.ops.stairs import attend_stairs, pairs


class Given(Mask):
    everything = False

    def __init__(self, seen: torch.Tensor):
        self.seen = seen

    def dense(self, q_at, k_at):
        return self.seen[None, None]


def streams(batch: int, heads: int, length: int, dim: int) -> list[torch.Tensor]:
    """Views of one projection, as a layer makes them."""
    x = torch.randn(batch, length, 3, heads, dim, generator=torch.Generator().manual_seed(length), dtype=torch.float64)
    return [s.transpose(1, 2).requires_grad_() for s in x.unbind(2)]


@pytest.mark.parametrize("rows", [1, 4, 7, 128])
@pytest.mark.parametrize("batch, heads, length, dim", [(2, 3, 11, 5), (1, 1, 1, 2), (3, 2, 24, 4)])
def test_is_the_definition(batch, heads, length, dim, rows, monkeypatch):
    monkeypatch.setattr(stairs, "ROWS", rows)
    q, k, v = streams(batch, heads, length, dim)
    noise = torch.rand(length, length, generator=torch.Generator().manual_seed(0)) < 0.5
    seen = (noise | torch.eye(length, dtype=torch.bool)).tril()
    at = Layout.of(torch.full((batch,), length))
    want = attend_reference(q, k, v, Given(seen), at, at, 0.3)
    found = attend_stairs(q, k, v, hidden(seen, q.dtype), 0.3)
    torch.testing.assert_close(found, want)
    gy = want.detach().cos()
    for a, b in zip(torch.autograd.grad(found, (q, k, v), gy), torch.autograd.grad(want, (q, k, v), gy)):
        torch.testing.assert_close(a, b)


def test_pairs_are_those_that_are_computed():
    assert pairs(512) == 128 * (128 + 256 + 384 + 512) and pairs(130) == 128 * 128 + 2 * 130 and pairs(0) == 0
