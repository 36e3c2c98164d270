"""The multi-head shell as an ordinary module: what is attached to its projections sees them."""

import pytest
import torch

from jorip.core.init import Linear
from jorip.parts.mixer.multi_head import MultiHead
from tests.contracts.zoo import apply, build, rows, site


@pytest.mark.parametrize("name", ["q", "out"])
def test_hooks_of_projections_are_called(name):
    """However many rows are mapped together otherwise."""
    at, x, seen = site(), rows((200,)), []
    module = build(MultiHead(), at)
    want = apply(module, x, at)
    map_ = module.get_submodule(name)
    assert isinstance(map_, Linear)
    handle = map_.register_forward_hook(lambda m, given, y: seen.append(y))
    y = apply(module, x, at)
    torch.testing.assert_close(y, want, rtol=0, atol=1e-12)
    assert [tuple(s.shape) for s in seen] == [(200, at.d_model)]
    handle.remove()
    apply(module, x, at)
    assert len(seen) == 1
