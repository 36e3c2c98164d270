"""What prediction makes and keeps serves training afterwards: every mixer, at short and long lengths, in inference mode
first, in the same process."""

import pytest
import torch

from jorip.core.kept import kept
from jorip.parts.attention.patterns.base import Pattern
from jorip.parts.attention.patterns.random import Random
from jorip.parts.attention.sparse.big_bird import BigBird
from jorip.parts.attention.sparse.bp_transformer import BpTransformer
from jorip.parts.attention.sparse.longformer import Longformer
from jorip.parts.attention.sparse.sparse import Sparse
from jorip.parts.mixer.multi_head import MultiHead
from tests.contracts.zoo import SITES, apply, build, members, model, rows, site


@pytest.mark.parametrize("spec, causal", SITES)
def test_every_mixer(spec, causal):
    """Sequences that are all as long as each other: nothing else is kept between calls."""
    at, x = site(causal), rows((11, 11))
    module = build(spec, at)
    with torch.inference_mode():
        want = apply(module, x, at)
    y = apply(module, x, at)
    torch.testing.assert_close(y, want.clone())
    y.sum().backward()


PATTERNS = [p.values[0] for p in members(Pattern) if p.values[0].kind != "tree"]  # which only bp_transformer has
LONG = [
    *(Sparse(pattern=p) for p in (*PATTERNS, Random(count=100))),  # the last one: all pairs
    *(Longformer(window=8, first=2, dilation=(2,)), BigBird(block=8), BigBird(block=64), BpTransformer(near=4)),
]


@pytest.mark.parametrize("length", [139, 517])
@pytest.mark.parametrize("mechanism", LONG, ids=lambda m: f"{m.kind} {m}")
def test_long_inputs(mechanism, length):
    m = model(MultiHead(mechanism=mechanism), False, max_len=600)
    ids = torch.zeros(1, length, dtype=torch.int64)
    with torch.inference_mode():
        m(ids)
    m(ids).hidden.sum().backward()


def test_kept_is_made_once_and_forgets_the_oldest():
    made = []

    @kept(2)
    def double(x: int) -> torch.Tensor:
        made.append(x)
        return torch.full((1,), 2 * x)

    with torch.inference_mode():
        assert double(1) is double(1) and not double(1).is_inference()
    assert [int(double(x)) for x in (2, 3, 2, 1)] == [4, 6, 4, 2] and made == [1, 2, 3, 1]
