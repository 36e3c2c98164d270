"""Switch's experts against a loop over rows: who goes where, who finds no place, and what the losses are."""

import math

import pytest
import torch

import jorip
from jorip.architectures.encoder import Encoder
from jorip.blocks.pre_norm import PreNorm
from jorip.core.context import Context
from jorip.core.errors import SpecError
from jorip.core.layout import Layout, Packed, Rows
from jorip.core.random import Key
from jorip.parts.feedforward.base import activate
from jorip.parts.feedforward.experts import Experts
from jorip.parts.feedforward.router import TopOne
from tests.contracts.zoo import LENGTHS, VOCAB, WIDTH, build, close, rows, site, tokens

ROUTERS = [
    TopOne(),
    TopOne(capacity_factor=0.5),
    TopOne(capacity=1, bias=True),
    TopOne(capacity=0),
    TopOne(capacity_factor=None),
]


def reference(m, spec, x: Rows) -> tuple[torch.Tensor, list[int], list[bool]]:
    """Row by row, sequence by sequence."""
    out, chosen, kept = [], [], []
    for part in x.x.split(x.at.lengths.tolist()):
        used = [0] * spec.n_experts
        limit = spec.router.capacity
        if limit is None and spec.router.capacity_factor is not None:
            limit = math.ceil(spec.router.capacity_factor * len(part) / spec.n_experts)
        for row in part:
            bias = 0 if m.router.bias is None else m.router.bias
            p = (m.router.weight @ row + bias).softmax(-1)
            e = int(p.argmax())
            used[e] += 1
            kept.append(limit is None or used[e] <= limit)
            y = m.experts["down"].weight[e] @ activate(spec.activation, m.experts["up"].weight[e] @ row)
            out.append(y * p[e] if kept[-1] else 0 * y)
            chosen.append(e)
    return torch.stack(out), chosen, kept


@pytest.mark.parametrize("router", ROUTERS, ids=repr)
def test_each_row_goes_to_its_likeliest_expert(router):
    spec = Experts(n_experts=3, d_ff=5, activation="gelu", router=router)
    module, x = build(spec, site()), rows((9, 1, 6, 0, 3))
    ctx = Context()
    want, chosen, kept = reference(module, spec, x)
    close(module(x, ctx), want)
    notes = {name: value for (path, name), value in ctx.notes.items() if path == site().path}
    close(notes["load"], torch.tensor([chosen.count(e) / 19 for e in range(3)], dtype=torch.float64))
    close(notes["dropped"], torch.tensor(1 - sum(kept) / 19, dtype=torch.float64))
    assert router.capacity_factor is None or sum(kept) < 19, "capacity must bind for this to show anything"


def test_gradients_are_those_of_the_loop():
    spec = Experts(n_experts=3, d_ff=5, router=TopOne(capacity=2))
    module, x = build(spec, site()), rows((9, 1, 6, 3))

    def gradients(run):
        module.zero_grad()
        v = x.x.clone().requires_grad_()
        w = torch.randn(v.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (run(Rows(v, x.at)) * w).sum().backward()
        return [v.grad, *(p.grad.clone() for p in module.parameters())]

    got, want = gradients(lambda r: module(r, Context())), gradients(lambda r: reference(module, spec, r)[0])
    for a, b in zip(got, want):
        close(a, b)
    used = {e for e, k in zip(*reference(module, spec, x)[1:]) if k}
    assert all(bool(module.experts["up"].weight.grad[e].any()) == (e in used) for e in range(3))


def test_capacity_is_each_sequences_own():
    """Packed, padded and alone are the same even where experts are full."""
    layer = PreNorm(feed_forward=Experts(n_experts=3, router=TopOne(capacity_factor=0.7)))
    m = Encoder(vocab_size=VOCAB, d_model=WIDTH, n_layers=2, n_heads=2, layer=layer).build(seed=0, dtype=torch.float64)
    texts = tokens((9, 4, 7, 1))
    m.eval()
    want = torch.cat([m(t[None]).hidden[0] for t in texts])
    close(m(Packed.cat(texts)).hidden, want)
    ids, mask = torch.zeros(4, 11, dtype=torch.int64), torch.zeros(4, 11, dtype=torch.bool)
    for i, t in enumerate(texts):
        ids[i, 11 - len(t) :], mask[i, 11 - len(t) :] = t, True
    close(m(ids, mask=mask).hidden[mask], want)


def test_losses():
    spec = Experts(n_experts=4, router=TopOne(balance=0.5, z=0.25))
    module, x, ctx = build(spec, site()), rows(), Context()
    module(x, ctx)
    logits = x.x @ module.router.weight.T
    p = logits.softmax(-1)
    share = torch.nn.functional.one_hot(p.argmax(-1), 4).double().mean(0)
    found = {name: value for (_, name), value in ctx.notes.items()}
    close(found["balance_loss"], 0.5 * 4 * (share * p.mean(0)).sum())
    close(found["z_loss"], 0.25 * logits.exp().sum(-1).log().square().mean())
    assert module.router.couples == ("balance_loss",)
    quiet = Context()
    build(Experts(router=TopOne(balance=0.0)), site())(x, quiet)
    assert {name for _, name in quiet.notes} == {"load", "dropped"}
    even = build(spec, site())
    torch.nn.init.zeros_(even.router.weight)
    assert even.router.logits(x, Context()).unique().tolist() == [0.0]


def test_losses_of_a_model_are_auxiliary():
    layer = PreNorm(feed_forward=Experts(n_experts=3, router=TopOne(z=1e-3)))
    m = jorip.Decoder(vocab_size=VOCAB, d_model=WIDTH, n_layers=2, n_heads=2, layer=layer).build(seed=0)
    out = m(Packed.cat(tokens()))
    names = {f"layers.{i}.feed_forward.{n}_loss" for i in range(2) for n in ("balance", "z")}
    assert set(out.aux_losses) == names
    sum(out.aux_losses.values()).backward()
    assert m.layers[0].feed_forward.router.weight.grad.any()
    empty = m(Packed(torch.zeros(0, dtype=torch.int64), torch.tensor([0, 0]), torch.arange(2)))
    assert all(v.item() == 0 for v in empty.aux_losses.values())


def test_jitter_and_dropout_are_each_rows_own():
    """The same text is drawn the same, packed with others or alone; in evaluation nothing is drawn."""
    spec = Experts(n_experts=3, dropout=0.4, router=TopOne(capacity_factor=None, jitter=0.3))
    module, x = build(spec, site()).train(), rows()
    uid = torch.tensor([7, 2**40, 3, 4])
    at = Layout.of(torch.tensor(LENGTHS), uid)
    y = module(Rows(x.x, at), Context(key=Key(1, 2)))
    for one, r, u, n in zip(y.split(LENGTHS), x.x.split(LENGTHS), uid, LENGTHS):
        alone = Layout.of(torch.tensor([n]), u[None])
        close(module(Rows(r, alone), Context(key=Key(1, 2))), one)
    assert not torch.equal(module(Rows(x.x, at), Context(key=Key(1, 3))), y)
    quiet = module(Rows(x.x, at), Context())
    assert not torch.equal(quiet, y) and torch.equal(module.eval()(Rows(x.x, at), Context(key=Key(1, 2))), quiet)
    ctx = Context(key=Key(0, 0))
    many = Rows(torch.ones(400, WIDTH, dtype=torch.float64), Layout.of(torch.tensor([400])))
    factor = module.train().router.logits(many, ctx) / module.router.logits(many, Context())
    assert factor.std() > 0
    module.router.weight.data.copy_(torch.eye(3, WIDTH, dtype=torch.float64))
    drawn = module.router.logits(many, ctx)
    assert 0.7 <= drawn.min() < 0.71 and 1.29 < drawn.max() <= 1.3 and abs(drawn.mean() - 1) < 0.02


def test_the_router_is_exact_in_low_precision():
    module, x = build(Experts(n_experts=3), site(), torch.bfloat16), rows(dtype=torch.bfloat16)
    assert module.router.logits(x, Context()).dtype == torch.float32
    assert module(x, Context()).dtype == torch.bfloat16
    single = build(Experts(n_experts=3), site(), torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert single.router.logits(rows(dtype=torch.float32), Context()).dtype == torch.float32
        assert single(rows(dtype=torch.float32), Context()).isfinite().all()


def test_begins_small():
    """A tenth of the usual variance, cut at two deviations (2101.03961, 2.4)."""
    module = build(Experts(n_experts=4, d_ff=512), site(d_model=256))
    for p, fan_in in ((module.experts["up"].weight, 256), (module.experts["down"].weight, 512)):
        std = (0.1 / fan_in) ** 0.5
        assert p.abs().max() <= 2 * std and 0.85 < float(p.detach().std() / std) < 0.9


def test_step_by_step_is_never_crowded():
    """Rows count within one call, so capacity binds in the full pass only: the documented difference."""
    full = Experts(n_experts=2, router=TopOne(capacity=1))
    for router, same in ((full.router, False), (TopOne(capacity_factor=None), True)):
        layer = PreNorm(feed_forward=full.with_fields(router=router))
        m = jorip.Decoder(vocab_size=VOCAB, d_model=WIDTH, n_layers=2, n_heads=2, layer=layer)
        m = m.build(seed=0, dtype=torch.float64).eval()
        (text,) = tokens((6,))
        state = m.new_state(1)
        steps = torch.cat([m(t[None, None], state=state).hidden[0] for t in text])
        assert torch.allclose(steps, m(text[None]).hidden[0], atol=1e-10) == same


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Experts(n_experts=0), "experts.n_experts: input should be greater than 0, found 0"),
        (lambda: TopOne(capacity_factor=0.0), "top_one.capacity_factor: input should be greater than 0, found 0.0"),
        (lambda: TopOne(capacity=-1), "top_one.capacity: input should be greater than or equal to 0, found -1"),
        (lambda: TopOne(jitter=1.0), "top_one.jitter: input should be less than 1, found 1.0"),
        (lambda: Experts(router="top_on"), "there is no router called 'top_on'; did you mean 'top_one'?"),
    ],
)
def test_fields(make, message):
    with pytest.raises(SpecError) as e:
        make()
    assert message in str(e.value)
