"""Longformer: transformers' self-attention with the same weights, the definition, refusals, what it costs."""

from dataclasses import replace

import pytest
import torch
from transformers import LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

from jorip.core.context import Context
from jorip.core.cost import Shape
from jorip.core.errors import ConfigError, Refused, SpecError
from jorip.core.layout import Layout, Rows
from jorip.core.mask import Everything, Same
from jorip.parts.attention.full import Full
from jorip.parts.attention.late import Late
from jorip.parts.attention.patterns.band import Band
from jorip.parts.attention.patterns.global_ import Global
from jorip.parts.attention.sparse.longformer import Longformer
from jorip.parts.attention.sparse.sparse import Sparse
from jorip.parts.mixer.multi_head import MultiHead
from tests.contracts.test_cost import flops
from tests.contracts.zoo import apply, build, close, rows, site
from tests.parity.compare import exact

WIDTH, HEADS = 12, 3
SITE = site(d_model=WIDTH, n_heads=HEADS, n_kv_heads=HEADS, head_dim=4, max_len=None)
NAMES = {"q": "query", "k": "key", "v": "value", "q_global": "query_global", "k_global": "key_global"}
NAMES |= {"v_global": "value_global"}


def theirs_and_ours(spec: Longformer):
    """transformers' module, and our mixer with its weights, whose last map does nothing."""
    config = LongformerConfig(
        hidden_size=WIDTH, num_attention_heads=HEADS, attention_window=[2 * spec.window], num_hidden_layers=1,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    theirs, ours = LongformerSelfAttention(config, 0).double(), build(MultiHead(mechanism=spec), SITE)
    with torch.no_grad():
        for mine, name in NAMES.items():
            for part in ("weight", "bias"):
                p = getattr(getattr(theirs, name), part).normal_()
                getattr(getattr(ours, mine), part).copy_(p)
        ours.out.weight.copy_(torch.eye(WIDTH))
        ours.out.bias.zero_()
    return theirs, ours


def forward_theirs(module, x, mask, hubs):
    """As its model calls it: -10000 for padding, 0 for windows, 10000 for global rows."""
    penalty = torch.where(mask, torch.where(hubs, 10000.0, 0.0), -10000.0).to(x.dtype)
    with exact():
        return module(x, penalty, penalty < 0, penalty > 0, bool((penalty > 0).any()))[0]


@pytest.mark.parametrize("executor", ["dense", "tiles", "auto"])
@pytest.mark.parametrize("window, length", [(2, 8), (4, 24), (3, 150), (40, 160)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
def test_transformers_with_the_same_weights(executor, window, length, share):
    """Rows, and gradients of inputs and all projections; ragged; global rows anywhere, also in one sequence alone."""
    length = -(-length // (2 * window)) * 2 * window  # which theirs asks for
    theirs, ours = theirs_and_ours(Longformer(window=window, first=0, tag="x", executor=executor))
    x = torch.randn(3, length, WIDTH, dtype=torch.float64)
    mask = torch.arange(length) < torch.tensor([length, length // 2 + 1, 1])[:, None]
    hubs = (torch.rand(3, length) < share) & mask
    hubs[1:] &= share > 0.5
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    want = forward_theirs(theirs, a, mask, hubs)[mask]
    at = Layout.pack(mask)
    at = replace(at, tags={"x": at.take(hubs)})
    got = apply(ours, Rows(at.take(b), at), SITE)
    close(got, want)
    w = torch.randn_like(want)
    (want * w).sum().backward()
    (got * w).sum().backward()
    close(b.grad, a.grad * mask[..., None], 1e-9)
    for mine, name in NAMES.items():
        p, q = getattr(ours, mine).weight.grad, getattr(theirs, name).weight.grad
        assert (p is None) == (q is None) or not hubs.any()
        if p is not None and q is not None:
            close(p, q, 1e-9)


def test_first_rows_are_a_tag_that_needs_no_marks():
    first, tagged = Longformer(window=2, first=3), Longformer(window=2, first=0, tag="x")
    x = rows((9, 2, 200, 0))
    marked = Rows(x.x, replace(x.at, tags={"x": x.at.order < 3}))
    at = site(max_len=None)
    close(
        apply(build(MultiHead(mechanism=first), at), x, at), apply(build(MultiHead(mechanism=tagged), at), marked, at)
    )


def copied(a, b):
    """Mixers with the same usual projections, and a's of its global rows as its others."""
    for name in ("q", "k", "v"):
        getattr(a, f"{name}_global").load_state_dict(getattr(a, name).state_dict())
    b.load_state_dict({n: p for n, p in a.state_dict().items() if "_global" not in n})
    return a, b


@pytest.mark.parametrize("lengths", [(200, 5, 0, 1), (7, 3)])
def test_equal_projections_are_plain_global_attention(lengths):
    at = site(max_len=None)
    plain = MultiHead(mechanism=Sparse(pattern=Band(left=3, right=3) | Global(first=2)))
    for executor in ("dense", "tiles"):
        spec = Longformer(window=3, first=2, executor=executor)
        a, b = copied(build(MultiHead(mechanism=spec), at), build(plain, at))
        close(apply(a, rows(lengths), at), apply(b, rows(lengths), at))
        same = build(MultiHead(mechanism=spec.with_fields(separate=False)), at)
        same.load_state_dict(b.state_dict())
        close(apply(same, rows(lengths), at), apply(b, rows(lengths), at))


def test_window_as_long_as_the_input_or_all_rows_global_is_full_attention():
    at, x = site(max_len=None), rows((30, 12, 1))
    full = build(MultiHead(mechanism=Full()), at)
    for spec in (Longformer(window=30, first=1), Longformer(window=100, first=2), Longformer(window=1, first=30)):
        for executor in ("dense", "tiles"):
            module = build(MultiHead(mechanism=spec.with_fields(executor=executor)), at)
            copied(module, full)
            close(apply(module, x, at), apply(full, x, at))


def as_late(module, s, at):
    """The streams that it gets late as if they had been projected already."""
    return s | {n: Late.of(s[n], at) for n in module.late}


@pytest.mark.parametrize("executor", ["dense", "tiles"])
@pytest.mark.parametrize("dilation", [(1, 2), (3,), (2, 1)])
def test_dilated_heads_see_what_the_paper_draws(executor, dilation):
    spec = Longformer(window=2, dilation=dilation, first=0, tag="x", executor=executor)
    at, n = site(max_len=None), 20
    module = spec.build(at)
    x = torch.zeros(n, dtype=torch.bool)
    x[7] = True
    where = replace(Layout.of(torch.tensor([n])), tags={"x": x})
    zeros = dict.fromkeys(module.streams(at), torch.zeros(1, 2, n, 4, dtype=torch.float64))
    w = module.weights(as_late(module, zeros, where), where, where, Context())[0]
    for head in range(2):
        d = dilation[head * len(dilation) // 2]
        for i in range(n):
            reach = {i + d * step for step in range(-2, 3) if 0 <= i + d * step < n} | {7}
            assert set(w[head, i].nonzero()[:, 0].tolist()) == (set(range(n)) if i == 7 else reach)
    s = {name: torch.randn(1, 2, n, 4, dtype=torch.float64) for name in module.streams(at)}
    late = as_late(module, s, where)
    y, _ = module(late, where, where, {}, Context())
    w = module.weights(late, where, where, Context())
    close(y, torch.where(x[None, None, :, None], w @ s["v_global"], w @ s["v"]))


@pytest.mark.parametrize("executor", ["dense", "tiles"])
def test_other_masks_hold_for_global_rows_too(executor):
    at, x = site(max_len=None), rows((160, 9))
    module = build(MultiHead(mechanism=Longformer(window=2, first=2, executor=executor)), at)
    part = (x.at.order >= 5).long()
    tagged = Rows(x.x, replace(x.at, tags={"part": part}))
    y = module(tagged, {}, Context(mask=Everything() & Same("part")))[0]
    cut = Rows(x.x[:5], Layout.of(torch.tensor([5])))
    close(y[:5], apply(module, cut, at))
    assert not torch.allclose(y, apply(module, x, at))


def test_a_bias_of_the_position_is_added_for_global_rows_too():
    from tests.contracts.zoo import model, packed, tokens

    spec = MultiHead(mechanism=Longformer(window=20, first=1))
    a = model(spec, False, position="relative_bias")
    b = model(MultiHead(), False, position="relative_bias")
    saved = a.state_dict()
    for name in list(saved):
        if "_global" in name:
            saved[name] = saved[name.replace("_global", "")]
    a.load_state_dict(saved)
    b.load_state_dict({n: p for n, p in saved.items() if "_global" not in n})
    texts = packed(tokens())
    close(a(texts).hidden, b(texts).hidden)


def test_grouped_queries():
    at = site(n_heads=4, n_kv_heads=2, head_dim=2, max_len=None)
    x = rows((160, 9))
    a, b = (build(MultiHead(mechanism=Longformer(window=2, first=2, executor=e)), at) for e in ("dense", "tiles"))
    close(apply(a, x, at), apply(b, x, at))


def test_costs_are_counted_and_linear():
    for executor in ("dense", "tiles", "auto"):
        for dilation in ((1,), (1, 2)):
            spec = MultiHead(mechanism=Longformer(window=5, first=3, dilation=dilation, executor=executor))
            at = site(max_len=None)
            module = build(spec, at)
            for length in (2, 90, 300):
                x = rows((length,) * 2)
                assert flops(lambda: apply(module, x, at)) == spec.cost(at, Shape(2, length)).flops  # noqa: B023
    spec = Longformer(window=8)
    short, long = (spec.cost(SITE, Shape(1, n)).mixing for n in (6400, 12800))
    assert long < 2.01 * short and spec.cost(SITE, Shape(1, 100)).path == 2
    assert Longformer(window=4, first=0).cost(SITE, Shape(1, 41)).path == 10


def test_refusals():
    across = site(False, True)
    with pytest.raises(Refused, match=r"longformer is a pattern over one sequence's own order"):
        Longformer().build(across)
    with pytest.raises(Refused, match=r"layers\.1\.mixer: in a causal stack the first rows .* separate=False"):
        Longformer().build(site(True))
    with pytest.raises(Refused, match=r"rows marked 'x' .* decoding"):
        Longformer(tag="x", separate=False).build(site(True))
    with pytest.raises(SpecError, match=r"dilation is 1 or more for each group of heads, found \(1, 0\)"):
        Longformer(dilation=(1, 0))
    with pytest.raises(Refused, match=r"3 patterns are shared out among 2 heads"):
        Longformer(dilation=(1, 2, 3)).build(site())
    assert Longformer.parse({"longformer": {"dilation": 2}}).dilation == (2,)
    with pytest.raises(ConfigError, match=r"the rows marked 'question' are global here, and this call marks none"):
        apply(build(MultiHead(mechanism=Longformer(tag="question")), site()), rows(), site())
