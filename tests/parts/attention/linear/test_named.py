"""Mechanisms with names of their own: what they are short for, and the independent code of transformers."""

import pytest
import torch
import torch.nn.functional as F
from transformers.models.qwen3_next import modeling_qwen3_next as qwen

from jorip.core.layout import Rows
from jorip.ops.linear_attention import Features, recurrent
from jorip.ops.linear_attention_scan import scan
from jorip.ops.linear_attention_steps import Delta
from jorip.parts.attention.linear.delta_net import DeltaNet
from jorip.parts.attention.linear.features.rfa import Rfa as RfaMap
from jorip.parts.attention.linear.gated_delta_net import GatedDeltaNet
from jorip.parts.attention.linear.gated_linear import GatedLinear
from jorip.parts.attention.linear.linear import LinearAttention
from jorip.parts.attention.linear.performer import Performer
from jorip.parts.attention.linear.retention import Retention
from jorip.parts.attention.linear.rfa import Rfa
from jorip.parts.attention.linear.rules.gated import Gated
from jorip.parts.mixer.multi_head import MultiHead
from tests.contracts.zoo import build, close, site
from tests.parts.attention.linear.cases import attend, layer, one, projected, silu_unit


@pytest.mark.parametrize("chunk", [1, 5, 64])
@pytest.mark.parametrize("length", [1, 17, 70])
@pytest.mark.parametrize("theirs", [qwen.torch_recurrent_gated_delta_rule, qwen.torch_chunk_gated_delta_rule])
def test_the_gated_delta_rule_of_transformers(theirs, length, chunk):
    """Computed in float32 there."""
    g = torch.Generator().manual_seed(length)
    q, k, v = torch.randn(3, 2, 4, length, 6, generator=g)
    decay, beta = F.logsigmoid(torch.randn(2, 4, length, generator=g)), torch.rand(2, 4, length, generator=g)
    first = torch.randn(2, 4, 6, 6, generator=g)
    turned = [x.transpose(1, 2) for x in (q, k, v, decay, beta)]
    y, last = theirs(*turned, initial_state=first, output_final_state=True, use_qk_l2norm_in_kernel=True)
    unit = lambda x: x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)  # noqa: E731
    features = Features(lambda x: unit(x) * 6**-0.5, unit)
    mine, state = scan(Delta(features), chunk, first, q, k, v, None, beta[..., None], decay[..., None])
    close(mine, y.transpose(1, 2), 2e-5)
    close(state, last, 2e-5)
    a, b = (f(x) for f, x in ((features.queries, q), (features.keys, k)))
    close(recurrent(a, b, v, decay[..., None], beta[..., None], first)[0], y.transpose(1, 2), 2e-5)


def test_gated_delta_net_is_transformers_layer():
    """Streams of our layer through their rule and their gated norm."""
    module, _ = layer(MultiHead(mechanism=GatedDeltaNet(chunk=4)))
    s, rule = projected(module, one(9)), module.mechanism.rule
    decay = -rule.rate.exp()[:, None, None] * F.softplus(s["decay"] + rule.start[:, None, None])
    q, k = F.silu(s["q"]), F.silu(s["k"])
    turned = [x.transpose(1, 2).float() for x in (q, k, s["v"], decay[..., 0], s["beta"].sigmoid()[..., 0])]
    y, _ = qwen.torch_recurrent_gated_delta_rule(*turned, use_qk_l2norm_in_kernel=True, output_final_state=False)
    norm = qwen.Qwen3NextRMSNormGated(4, eps=1e-5)
    want = norm(y.reshape(-1, 4), s["swish"].transpose(1, 2).reshape(-1, 4).float()).view(1, 9, 2, 4).transpose(1, 2)
    close(attend(module, one(9)).float(), want[0], 1e-4)


def test_delta_net_is_the_gated_one_that_forgets_nothing():
    module, _ = layer(MultiHead(mechanism=DeltaNet(chunk=4)))
    s = projected(module, one(9))
    q, k = silu_unit(s["q"]) / 2, silu_unit(s["k"])
    y, _ = recurrent(q, k, s["v"], beta=s["beta"].sigmoid())
    close(attend(module, one(9)), y[0] * torch.rsqrt(y[0].square().mean(-1, keepdim=True) + 1e-5))
    turned = [x.transpose(1, 2).float() for x in (F.silu(s["q"]), F.silu(s["k"]), s["v"])]
    beta = s["beta"].sigmoid()[..., 0].transpose(1, 2).float()
    theirs, _ = qwen.torch_recurrent_gated_delta_rule(
        *turned, torch.zeros_like(beta), beta, use_qk_l2norm_in_kernel=True, output_final_state=False
    )
    close(y.float(), theirs.transpose(1, 2), 1e-5)


def test_retention_is_the_parallel_form_of_its_paper():
    """(Q K^T * D) V, D[n, m] = g^(n - m), g = 1 - 2^(-5 - h), and GroupNorm over each head."""
    module, _ = layer(MultiHead(mechanism=Retention(chunk=3, gate=True)), n_heads=4, n_kv_heads=4)
    x = one(8)
    s = projected(module, x)
    n = torch.arange(8, dtype=torch.float64)
    g = 1 - 2.0 ** (-5 - torch.arange(4, dtype=torch.float64))
    decays = (g[:, None, None] ** (n[:, None] - n).clamp(min=0)).tril()
    y = (s["q"] @ s["k"].mT * 4**-0.5 * decays) @ s["v"]
    normed = F.group_norm(y[0].transpose(0, 1).reshape(8, 16), 4).view(8, 4, 4).transpose(0, 1)
    close(attend(module, x), normed * F.silu(s["swish"][0]))
    plain, _ = layer(MultiHead(mechanism=Retention(gate=False)))
    assert "swish" not in plain.streams
    many = Retention().build(site(True, n_heads=26, n_kv_heads=26)).rule.entries({"v": torch.zeros(1, 26, 1, 4)}, None)
    assert many.decay.max() < 0 and many.decay[0, 0] == many.decay[0, 12]


def test_gated_linear_attention_is_its_recurrence():
    module, _ = layer(MultiHead(mechanism=GatedLinear(rank=2, chunk=20, gate=False)))
    x = one(41)
    s = projected(module, x)
    decay = F.logsigmoid(module.mechanism.rule.up(s["decay"][:, 0])).view(1, 41, 2, 4).transpose(1, 2) / 16
    y, _ = recurrent(s["q"] / 2, s["k"], s["v"], decay)
    close(attend(module, x), F.layer_norm(y, (4,))[0], 1e-8)
    assert module.streams["decay"].dim == 2 and "swish" in GatedLinear().build(site(True)).streams(site(True))


def test_gated_delta_net_starts_as_in_its_paper():
    module, _ = layer(MultiHead(mechanism=GatedDeltaNet()), n_heads=64, n_kv_heads=64, head_dim=1)
    rule = module.mechanism.rule
    assert (rule.rate.exp() >= 1).all() and (rule.rate.exp() <= 16).all() and rule.rate.std() > 0.1
    step = F.softplus(rule.start)
    assert (step >= 0.99e-3).all() and (step <= 0.101).all() and step.log().std() > 0.5


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    "short, long",
    [
        (Performer(features=16), {"features": {"positive": {"count": 16}}}),
        (Performer(features=16, map="relu", seed=3), {"features": {"relu": {"count": 16, "seed": 3}}}),
        (
            Performer(features=16, map="fourier", orthogonal=False),
            {"features": {"fourier": {"count": 16, "orthogonal": False}}},
        ),
        (Rfa(features=16, gate=False), {"features": {"rfa": {"count": 16}}}),
        (Rfa(features=16, gate=True), {"features": {"rfa": {"count": 16}}, "rule": "gated"}),
    ],
)
def test_what_names_are_short_for(short, long, causal):
    long = LinearAttention.parse({"linear": long})
    a, b = (build(MultiHead(mechanism=m), site(causal)) for m in (short, long))
    assert torch.equal(attend(a, one(7), causal), attend(b, one(7), causal))


def test_the_gate_of_rfa():
    at = site(False)
    assert "gate" in Rfa().build(site(True)).streams(at) and "gate" not in Rfa().build(at).streams(at)
    assert LinearAttention(features=RfaMap(), rule=Gated()).build(site(True)).rule.normalised


def test_performer_comes_near_softmax():
    """With many features it is full attention, the more the nearer."""
    from jorip.parts.attention.full import Full

    x, errors = Rows(one(12).x / 2, one(12).at), []
    with torch.no_grad():
        want = attend(build(MultiHead(mechanism=Full()), site(True)), x)
        for features in (16, 256, 4096):
            y = attend(build(MultiHead(mechanism=Performer(features=features)), site(True)), x)
            errors.append(float((y - want).abs().mean() / want.abs().mean()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2] and errors[2] < 0.03
