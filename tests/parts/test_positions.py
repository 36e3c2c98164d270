"""Positions against their formulas: sinusoids (survey Eq 28), rotary as complex numbers (Eq 35-38), learned."""

import math

import pytest
import torch

from jorip.core.context import Context
from jorip.core.errors import DataError, Refused
from jorip.core.layout import Layout
from jorip.core.site import Site
from jorip.parts.position.learned import Learned
from jorip.parts.position.none import NoPosition
from jorip.parts.position.rotary import Rotary
from jorip.parts.position.sinusoidal import Sinusoidal, sinusoids

SITE = Site("position", d_model=8, n_heads=2, n_kv_heads=2, head_dim=8, max_len=6)
AT = Layout.of(torch.tensor([4, 6, 1]))
PLAIN = [spec for spec in Rotary.examples() if spec.scaling is None]


@pytest.mark.parametrize("width", [8, 7])
def test_sinusoids_are_the_formula(width):
    table = sinusoids(5, width, 10000.0)
    for t in range(5):
        for i in range(width):
            angle = t * 10000.0 ** (-(i - i % 2) / width)
            assert abs(float(table[t, i]) - (math.cos(angle) if i % 2 else math.sin(angle))) < 1e-14


def test_sinusoidal_adds_by_position():
    x = torch.randn(11, 8, dtype=torch.float64)
    y = Sinusoidal().build(SITE).embed(x, AT)
    torch.testing.assert_close(y - x, sinusoids(6, 8, 10000.0)[AT.positions])
    far = Layout.of(torch.tensor([2]), start=torch.tensor([100_000]))
    exact = sinusoids(100_002, 8, 10000.0)[-2:].float()
    assert torch.equal(Sinusoidal().build(SITE).embed(torch.zeros(2, 8), far), exact), "float32 far out, too"


def complex_rotation(
    q: torch.Tensor, positions: torch.Tensor, base: float, dim: int, interleaved: bool
) -> torch.Tensor:
    """By hand: each pair is a complex number, multiplied by exp(i t w)."""
    out = q.clone()
    for row, t in enumerate(positions.tolist()):
        for pair in range(dim // 2):
            a, b = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + dim // 2)
            turn = complex(math.cos(t * base ** (-2 * pair / dim)), math.sin(t * base ** (-2 * pair / dim)))
            for head in range(q.shape[1]):
                z = complex(q[row, head, a], q[row, head, b]) * turn
                out[row, head, a], out[row, head, b] = z.real, z.imag
    return out


@pytest.mark.parametrize("spec", [*PLAIN, Rotary(base=100.0)], ids=repr)
def test_rotary_is_complex_multiplication(spec):
    q = torch.randn(11, 2, 8, dtype=torch.float64)
    got = spec.build(SITE).rotate(q, AT, Context())
    want = complex_rotation(q, AT.positions, spec.base, int(8 * spec.fraction), spec.pairs == "interleaved")
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spec", PLAIN, ids=repr)
def test_rotary_scores_depend_on_offsets_only(spec):
    q, k = (torch.randn(1, 2, 8, dtype=torch.float64).expand(6, 2, 8) for _ in range(2))
    module = spec.build(SITE)

    def scores(start):
        at = Layout.of(torch.tensor([6]), start=torch.tensor([start]))
        a, b = (module.rotate(v, at, Context()) for v in (q, k))
        return torch.einsum("ihd,jhd->hij", a, b)

    here, far = scores(0), scores(1000)
    torch.testing.assert_close(here, far, rtol=1e-9, atol=1e-9)
    for offset in range(-5, 6):
        line = here.diagonal(offset, 1, 2)
        torch.testing.assert_close(line, line[:, :1].expand_as(line), rtol=1e-12, atol=1e-12)


def test_rotary_keeps_norms_and_precision():
    module, at = Rotary().build(SITE), Layout.of(torch.tensor([3]), start=torch.tensor([50_000]))
    q = torch.randn(3, 2, 8, dtype=torch.float64)
    exact = module.rotate(q, at, Context())
    torch.testing.assert_close(exact.norm(dim=-1), q.norm(dim=-1))
    assert (module.rotate(q.float(), at, Context()) - exact).abs().max() < 1e-5
    ctx = Context()
    assert module.table(q, at, ctx)[0] is module.table(q, at, ctx)[0], "the table is made once per stack"
    assert module.table(q.float(), at, ctx)[0].dtype == torch.float32


def test_learned():
    module = Learned().build(SITE)
    torch.nn.init.normal_(module.weight)
    x = torch.randn(11, 8)
    assert torch.equal(module.embed(x, AT), x + module.weight[AT.positions])
    assert module.embed(x[:0], Layout.of(torch.tensor([0]))).shape == (0, 8)
    with pytest.raises(
        DataError, match=r"a sequence of 7 tokens is longer than max_len=6 learned positions: truncate it"
    ):
        module.embed(torch.randn(7, 8), Layout.of(torch.tensor([7])))


def test_none_changes_nothing():
    x = torch.randn(11, 8)
    assert NoPosition().build(SITE).embed(x, AT) is x


def test_refusals():
    with pytest.raises(Refused, match="position: learned positions need max_len on the architecture"):
        Learned().build(Site("position", 8, 2, 2, 4))
    with pytest.raises(Refused, match=r"rotary turns pairs, so head_dim \* fraction must be even, found 3 \* 1.0"):
        Rotary().build(Site("position", 9, 3, 3, 3))
    with pytest.raises(Refused, match="must be even"):
        Rotary(fraction=0.1).build(SITE)
