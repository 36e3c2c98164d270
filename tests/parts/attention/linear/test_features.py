"""Feature maps: what their products estimate, how well, and what they are computed from."""

import math

import pytest
import torch

from jorip.core.errors import Refused
from jorip.core.site import Site
from jorip.parts.attention.linear.features.base import FeatureMap
from jorip.parts.attention.linear.features.dpfp import Dpfp
from jorip.parts.attention.linear.features.draws import directions
from jorip.parts.attention.linear.features.elu import Elu
from jorip.parts.attention.linear.features.fourier import Fourier, waves
from jorip.parts.attention.linear.features.positive import Positive
from jorip.parts.attention.linear.features.relu import Relu
from jorip.parts.attention.linear.features.rfa import Rfa

DIM = 8
SITE = Site("layers.0.mixer", d_model=16, n_heads=2, n_kv_heads=2, head_dim=DIM)


def pair(seed: int = 0, size: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, DIM, generator=g, dtype=torch.float64) * size)


def products(kind, of, draws: int = 400, **more) -> torch.Tensor:
    """(draws,) of one number each, from maps that differ by the seed alone."""
    return torch.stack([of(kind(seed=s, **more).build(SITE)) for s in range(draws)])


def mean_is(found: torch.Tensor, want: float) -> None:
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean() - want) < 4 * error, f"{found.mean():.4f} +- {error:.4f}, wanted {want:.4f}"


def softmax_kernel(q, k) -> float:
    return math.exp(float(q @ k) / math.sqrt(DIM))


@pytest.mark.parametrize("orthogonal", [True, False])
def test_positive_features_are_unbiased_for_softmax(orthogonal):
    q, k = pair()
    of = lambda m: (m.logarithms(q[None]).exp() * m.logarithms(k[None]).exp()).mean()  # noqa: E731
    found = products(Positive, of, count=16, orthogonal=orthogonal)
    assert (found > 0).all()
    mean_is(found, softmax_kernel(q, k))


@pytest.mark.parametrize("orthogonal", [True, False])
def test_fourier_features_are_unbiased_for_softmax(orthogonal):
    """The factor of queries, left out because it cancels, is put back."""
    q, k = pair()
    size = (q.square().sum() / DIM**0.5 / 2).exp()
    of = lambda m: (m.queries(q[None]) * m.keys(k[None])).sum() * size  # noqa: E731
    mean_is(products(Fourier, of, count=16, orthogonal=orthogonal), softmax_kernel(q, k))


def test_products_of_waves_are_the_gaussian_kernel():
    q, k = pair(1, 0.5)
    found = torch.stack([(waves(q, w) * waves(k, w)).sum() for w in draws(300)])
    mean_is(found, math.exp(-float((q - k).square().sum()) / 2))
    w = draws(1)[0]
    torch.testing.assert_close(waves(q, w).norm(), torch.ones((), dtype=torch.float64))


def draws(n: int) -> list[torch.Tensor]:
    return [directions(16, DIM, s, True, torch.float64, "cpu") for s in range(n)]


def test_rfa_is_the_softmax_of_rows_of_length_1():
    q, k = pair(2)

    def of(m):
        f = m.features()
        a, b = m.before(q[None]), m.before(k[None])
        torch.testing.assert_close(a.norm(), torch.ones((), dtype=torch.float64))
        return (f.queries(a) * f.keys(b)).sum().detach()

    cosine = float(torch.nn.functional.cosine_similarity(q, k, dim=0))
    mean_is(products(Rfa, of, count=16), math.exp(cosine - 1))
    module = Rfa(count=4).build(SITE)
    assert module.width.shape == (DIM,) and module.role == "norm"
    with torch.no_grad():
        module.width.mul_(2)
    torch.testing.assert_close(module.before(q[None]).norm(), torch.tensor(2.0, dtype=torch.float64))


def test_relu_features_are_the_arc_cosine_kernel():
    q, k = pair(3)
    angle = math.acos(float(torch.nn.functional.cosine_similarity(q, k, dim=0)))
    want = float(q.norm() * k.norm()) * (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / math.pi
    mean_is(products(Relu, lambda m: (m.positive(q) * m.positive(k)).sum(), count=16), want)


@pytest.mark.parametrize("kind", [Positive, Fourier])
def test_orthogonal_directions_have_less_variance(kind):
    q, k = pair(4, 0.7)
    if kind is Positive:
        of = lambda m: (m.logarithms(q[None]).exp() * m.logarithms(k[None]).exp()).mean()  # noqa: E731
    else:
        of = lambda m: (m.queries(q[None]) * m.keys(k[None])).sum()  # noqa: E731
    together, apart = (products(kind, of, 600, count=DIM, orthogonal=o).var() for o in (True, False))
    assert together < 0.9 * apart


def test_directions():
    w = directions(20, DIM, 3, True, torch.float64, "cpu")
    assert w.shape == (20, DIM) and torch.equal(w, directions(20, DIM, 3, True, torch.float64, "cpu"))
    for block in w.split(DIM):
        products = block @ block.T
        torch.testing.assert_close(products, products.diagonal().diag(), atol=1e-10, rtol=0)
    lengths = directions(4000, DIM, 1, True, torch.float64, "cpu").square().sum(1)
    assert abs(lengths.mean() - DIM) < 0.3 and abs(lengths.var() - 2 * DIM) < 2, "chi-squared, as of N(0, I)"
    one = torch.cat([directions(1, DIM, s, True, torch.float64, "cpu") for s in range(500)])
    assert abs(one.mean()) < 0.1 and abs(one.var() - 1) < 0.1, "a turn is uniform: both signs"
    assert not torch.equal(w, directions(20, DIM, 4, True, torch.float64, "cpu"))
    with torch.inference_mode():
        drawn = directions(7, DIM, 11, True, torch.float32, "cpu")
    assert not drawn.is_inference(), "what was drawn in inference serves training"


def test_layers_draw_by_their_place():
    a, b = (Positive().build(SITE.at(n)).directions(torch.zeros(())) for n in ("x", "y"))
    assert not torch.equal(a, b)
    assert torch.equal(a, Positive().build(SITE.at("x")).directions(torch.zeros(())))
    assert "count=256, head_dim=8" in repr(Positive().build(SITE))


@pytest.mark.parametrize("nu", [1, 2, 15])
def test_dpfp_against_its_definition(nu):
    """Compared by products of features: whose order is free (the paper's own code turns the other way)."""
    x, y = pair(5)

    def definition(x):
        r = [max(float(v), 0.0) for v in [*x, *(-x)]]
        return torch.tensor([[r[i] * r[(i + j) % len(r)] for j in range(1, nu + 1)] for i in range(len(r))]).flatten()

    f = Dpfp(nu=nu).build(SITE).features()
    a, b = f.queries(x), f.keys(y)
    assert a.shape == (2 * nu * DIM,) == (Dpfp(nu=nu).size(DIM),) and (a >= 0).all()
    torch.testing.assert_close(a @ b, definition(x) @ definition(y), check_dtype=False)
    torch.testing.assert_close(a.sort().values, definition(x).sort().values, check_dtype=False)


def test_dpfp_has_so_many_offsets():
    with pytest.raises(Refused, match=r"layers\.0\.mixer: dpfp has 15 different offsets with head_dim 8, found nu=16"):
        Dpfp(nu=16).build(SITE)


def test_elu():
    f = Elu().build(SITE).features()
    x = torch.tensor([-30.0, -1.0, 0.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(f.keys(x), torch.tensor([math.exp(-30), math.exp(-1), 1.0, 3.0], dtype=torch.float64))


def test_positive_features_of_large_keys_are_finite():
    """Exact quotients: what is taken off queries and keys cancels."""
    wide = Site("x", d_model=512, n_heads=2, n_kv_heads=2, head_dim=256)
    m = Positive(count=64).build(wide)
    w = m.directions(torch.zeros(()))
    assert m.shift(w) > 0 and m.shift(w[:, :1].double()).dtype == torch.float64
    worst = (w * 256**0.25)[None]  # each key is a direction
    assert m.keys(worst).isfinite().all() and m.keys(worst * 3).isfinite().all() and m.queries(worst).isfinite().all()
    assert m.keys(worst).max() <= math.exp(64.1)
    plain, shifted = m.logarithms(worst.double()).exp(), m.keys(worst.double())
    torch.testing.assert_close(shifted / shifted.sum(), plain / plain.sum())
    q = torch.randn(1, 3, 256, dtype=torch.float64)
    a, b = m.queries(q), m.logarithms(q).exp()
    torch.testing.assert_close(a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True))


@pytest.mark.parametrize("spec", [m.values[0] for m in [pytest.param(c()) for c in FeatureMap.members().values()]])
def test_sizes_and_spec(spec):
    m = spec.build(SITE)
    f, x = m.features(), m.before(torch.randn(2, 3, 4, DIM))
    for g in (f.queries, f.keys):
        assert g(x).shape == (2, 3, 4, spec.size(DIM)) and g(x).isfinite().all()
    assert FeatureMap.parse(spec.to_dict()) == spec and spec.examples()
    assert (spec.macs(DIM) > 0) == hasattr(spec, "count")
    if not f.least:
        assert (f.keys(x) >= 0).all()
