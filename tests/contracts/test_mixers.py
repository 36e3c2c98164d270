"""Every mixer, alone: shapes, what may influence what, gradients, empty sequences, meta build, no hidden memory."""

import copy

import pytest
import torch

from jorip.core.cost import Shape
from jorip.core.errors import Refused
from jorip.core.init import Xavier, initialise
from jorip.core.layout import Layout, Rows
from jorip.parts.mixer.base import Mixer
from tests.contracts.zoo import LENGTHS, SITES, WIDTH, apply, build, close, context, members, mixers, nodes, rows, site

CROSS = mixers(False, cross=True)


@pytest.mark.parametrize("spec", members(Mixer))
def test_every_example_has_a_site(spec):
    inside = [nodes(spec, causal).inside(site(causal)) for causal in (False, True) if nodes(spec, causal)]
    taken = [at for at in (site(), site(True), site(False, True), *inside) if _taken(spec, at)]
    assert taken, f"{spec} is refused everywhere"


def _taken(spec, at):
    try:
        spec.build(at)
    except Refused as e:
        assert at.path in str(e), "a refusal says where"
        return False
    return True


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("spec, causal", SITES)
def test_shape_and_dtype(spec, causal, dtype):
    at, x = site(causal), rows(dtype=dtype)
    y = apply(build(spec, at, dtype), x, at)
    assert y.shape == x.x.shape and y.dtype == dtype and y.isfinite().all()


def influence(spec, at, x: Rows) -> torch.Tensor:
    """(rows, rows) bool: does x_j change y_i?"""
    module = build(spec, at)
    jacobian = torch.autograd.functional.jacobian(lambda v: apply(module, Rows(v, x.at), at), x.x)
    return (jacobian != 0).any(3).any(1)


@pytest.mark.parametrize("spec, causal", SITES)
def test_who_influences_whom(spec, causal):
    at, x = site(causal), rows()
    seen = influence(spec, at, x)
    same = x.at.sample[:, None] == x.at.sample[None]
    assert not seen[~same].any(), "sequences must not mix"
    assert seen.diagonal().any(), "a row must matter somewhere"
    later = same & (x.at.order[None] > x.at.order[:, None])
    earlier = same & (x.at.order[None] < x.at.order[:, None])
    assert seen[earlier].any(), "a mixer must mix"
    assert not seen[later].any() if causal else seen[later].any()


@pytest.mark.parametrize("spec, causal", SITES)
def test_gradients_are_finite_and_reach_every_parameter(spec, causal):
    at, x = site(causal), rows()
    module, v = build(spec, at), x.x.clone().requires_grad_()
    out = apply(module, Rows(v, x.at), at)
    (out * torch.randn_like(out)).sum().backward()
    assert v.grad is not None and v.grad.isfinite().all() and (v.grad != 0).any()
    for name, p in module.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name
        if name not in ("k.bias", "k_global.bias"):  # softmax does not change when all keys move together
            assert (p.grad != 0).any(), name


@pytest.mark.parametrize("spec, causal", SITES)
def test_empty_sequences(spec, causal):
    at, module = site(causal), build(spec, site(causal))
    x = rows((0, 4, 0, 2, 0))
    alone = torch.cat([apply(module, Rows(r, Layout.of(torch.tensor([len(r)]))), at) for r in x.x.split([4, 2])])
    close(apply(module, x, at), alone)
    for lengths in ((0, 0), ()):
        nothing = Rows(x.x[:0], Layout.of(torch.tensor(lengths, dtype=torch.int64)))
        assert apply(module, nothing, at).shape == (0, WIDTH)
        state = module.new_state(len(lengths), 4, torch.float64)
        if state is not None:
            assert apply(module, nothing, at, state={at.path: state}).shape == (0, WIDTH)


@pytest.mark.parametrize("spec", CROSS)
def test_an_empty_memory_gives_zeros_and_zero_gradient(spec):
    at = site(False, True)
    module, x = build(spec, at), rows((2, 3))
    if module.out.bias is not None:
        module.out.bias.data.zero_()
    for lengths in ((0, 4), (0, 0)):
        memory = rows(lengths, width=6, seed=1)
        m, v = memory.x.clone().requires_grad_(), x.x.clone().requires_grad_()
        y = apply(module, Rows(v, x.at), at, Rows(m, memory.at))
        y.sum().backward()
        assert (y[:2] == 0).all() and v.grad is not None and (v.grad[:2] == 0).all()
        assert all(p.grad.isfinite().all() for p in module.parameters() if p.grad is not None)
        assert lengths[1] == 0 or ((y[2:] != 0).any() and m.grad is not None and m.grad.isfinite().all())


@pytest.mark.parametrize("spec", CROSS)
def test_memory_padding_does_not_matter(spec):
    at = site(False, True)
    module, x, memory = build(spec, at), rows(), rows((4, 2, 1, 6), width=6, seed=1)
    together = apply(module, x, at, memory)
    one_by_one = [
        apply(module, Rows(a, Layout.of(torch.tensor([len(a)]))), at, Rows(m, Layout.of(torch.tensor([len(m)]))))
        for a, m in zip(x.x.split(LENGTHS), memory.x.split([4, 2, 1, 6]))
    ]
    close(together, torch.cat(one_by_one))


@pytest.mark.parametrize("spec, causal", SITES)
def test_meta_build_equals_direct_build(spec, causal):
    at = site(causal)
    with torch.device("meta"):
        meta = spec.build(at)
    count = sum(p.numel() for p in meta.parameters())
    meta.to_empty(device="cpu")
    direct = spec.build(at)
    for m in (meta, direct):
        initialise(m, Xavier(), 6, seed=3)
    assert count == sum(p.numel() for p in direct.parameters())
    assert list(meta.state_dict()) == list(direct.state_dict())
    x = rows(dtype=torch.float32)
    assert torch.equal(apply(meta, x, at), apply(direct, x, at))


@pytest.mark.parametrize("spec, causal", SITES)
def test_same_answer_whatever_ran_before(spec, causal):
    at, x = site(causal), rows()
    module, fresh = build(spec, at), build(spec, at)
    for seed, lengths in enumerate([(7, 7), (1,), (0, 9, 2), LENGTHS]):
        apply(module, rows(lengths, seed=seed + 5), at).sum().backward()
    module.zero_grad()
    assert torch.equal(apply(module, x, at), apply(fresh, x, at))
    assert torch.equal(apply(copy.deepcopy(module), x, at), apply(fresh, x, at))


@pytest.mark.parametrize("spec, causal", SITES)
def test_new_state_exists_exactly_where_it_is_causal(spec, causal):
    at = site(causal)
    module, x = build(spec, at), rows((5, 5, 5))
    state = module.new_state(3, 5, torch.float64)
    cost = spec.cost(at, Shape(3, 5))
    assert (state is not None) == causal
    if state is None:
        assert cost.state == 0
        return
    with torch.no_grad():
        apply(module, x, at, state={at.path: state})
    lengths = getattr(state, "lengths", torch.zeros(0))
    assert state.nbytes - lengths.nbytes == 8 * cost.state


@pytest.mark.parametrize("spec, causal", SITES)
def test_captures_only_what_has_a_map(spec, causal):
    at, x = site(causal), rows()
    ctx = context(at)
    ctx.capture(at.path)
    build(spec, at)(x, {}, ctx)
    w = ctx.captures[at.path]
    if w is not None:
        assert w.shape == (4, at.n_heads, 7, 7)
        close(w.sum(-1)[:, :, 0], torch.ones(4, 2, dtype=w.dtype))
