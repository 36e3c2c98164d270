"""Every norm, feed-forward, position, embedding, readout and block: the rows' contract, whatever the part."""

import copy
import json
import pickle

import pytest
import torch

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.blocks.base import Block
from jorip.core.context import Context
from jorip.core.errors import Refused
from jorip.core.init import Init, Xavier, initialise
from jorip.core.layout import Layout, Packed, Rows
from jorip.core.mask import Causal, Everything
from jorip.core.random import Key
from jorip.parts.attention.base import Mechanism
from jorip.parts.embedding.base import Embedding
from jorip.parts.feedforward.base import FeedForward
from jorip.parts.mixer.base import Mixer
from jorip.parts.norm.base import Norm
from jorip.parts.position.base import Position
from jorip.parts.readout.base import IGNORE, Readout
from tests.contracts.zoo import (
    LENGTHS,
    LONGEST,
    VOCAB,
    WIDTH,
    build,
    close,
    members,
    packed,
    padded,
    rows,
    site,
    tokens,
)

FAMILIES = (Mixer, Mechanism, Norm, Position, FeedForward, Embedding, Readout, Init, Block)
EVERY = [pytest.param(f, p.values[0], id=f"{f.__name__}-{p.id}") for f in FAMILIES if f is not Init for p in members(f)]
SIZES = {"vocab_size": VOCAB, "d_model": WIDTH, "n_layers": 2, "n_heads": 2, "max_len": LONGEST}


@pytest.mark.parametrize("family, spec", EVERY)
def test_spec_survives_saving(family, spec):
    written = json.loads(json.dumps(spec.to_dict()))
    assert family.parse(written) == spec and pickle.loads(pickle.dumps(spec)) == spec
    assert hash(family.parse(written)) == hash(spec) and repr(spec)
    ((name, _),) = written.items()
    assert family.members()[name] is type(spec)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_every_part_says_what_it_is(family):
    for name, member in family.members().items():
        assert member.__doc__ and member.__doc__ != family.__doc__, name
        module = __import__(member.__module__, fromlist=["x"])
        assert module.__doc__ and all(id in module.__doc__ for id in member.ids), (
            f"{name}: its file says which rows it is"
        )


def row_wise(spec, run):
    """What does not mix: each row alone gives the same, gradients are finite, no rows are no trouble."""
    module, x = build(spec, site()), rows()
    y = run(module, x)
    assert y.shape == x.x.shape and y.isfinite().all()
    each = [run(module, Rows(r[None], Layout.of(torch.tensor([1])))) for r in x.x]
    close(y, torch.cat(each))
    assert run(module, Rows(x.x[:0], Layout.of(torch.tensor([0, 0])))).shape == (0, WIDTH)
    v = x.x.clone().requires_grad_()
    (run(module, Rows(v, x.at)) * torch.randn_like(v)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in [v, *module.parameters()])
    assert torch.equal(run(copy.deepcopy(module), x), y)
    with torch.device("meta"):
        meta = spec.build(site())
    direct = spec.build(site())
    for m in (meta.to_empty(device="cpu"), direct):
        initialise(m, Xavier(), 4, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(meta.state_dict().values(), direct.state_dict().values()))


@pytest.mark.parametrize("spec", members(Norm))
def test_norms(spec):
    row_wise(spec, lambda m, x: m(x.x))
    module = build(spec, site())
    module.bfloat16()
    y = module((rows().x * 100).bfloat16())  # statistics need more than bfloat16
    assert y.dtype == torch.bfloat16 and (y.double().square().mean(-1) < 4).all()
    assert module(torch.zeros(2, WIDTH, dtype=torch.bfloat16)).isfinite().all()


@pytest.mark.parametrize("spec", members(FeedForward))
def test_feed_forwards(spec):
    row_wise(spec, lambda m, x: m(x, Context()))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("spec", members(Block))
def test_blocks(spec, causal):
    """With and without a memory; a block with all parts at zero lets the rows through (normed, if it is post-norm)."""
    for memory in (None, rows((2, 3, 4, 1), width=6, seed=1)):
        at = site(causal, path="layers.1", d_memory=None if memory is None else 6)
        block, x = build(spec, at), rows()
        ctx = Context(mask=Causal() if causal else Everything())
        y, carry = block(x, {}, ctx, memory)
        assert y.x.shape == x.x.shape and y.at is x.at and isinstance(carry, dict)
        alone = [
            block(Rows(r, Layout.of(torch.tensor([len(r)]))), {}, Context(mask=ctx.mask), m)[0].x
            for r, m in zip(x.x.split(LENGTHS), one_by_one(memory))
        ]
        close(y.x, torch.cat(alone))
        names = {"mixer", "feed_forward"} | ({"cross"} if memory is not None else set())
        assert set(spec.cost(at, shape())) == names
        for path in names:
            assert block.get_submodule(path) is not None


def shape():
    from jorip.core.cost import Shape

    return Shape(2, 3, 4)


def one_by_one(memory):
    if memory is None:
        return [None] * 4
    return [Rows(m, Layout.of(torch.tensor([len(m)]))) for m in memory.x.split([2, 3, 4, 1])]


@pytest.mark.parametrize("kind", [Encoder, Decoder])
@pytest.mark.parametrize("spec", members(Position))
def test_positions_in_a_model(spec, kind):
    """Padding does not matter, step by step equals the full pass, shifted positions are respected."""
    m = kind(**SIZES, position=spec).build(seed=0, dtype=torch.float64).eval()
    texts = tokens()
    expected = [m(t[None]).hidden[0] for t in texts]
    ids, mask = padded(texts, "inside")
    for h, seen, want in zip(m(ids, mask=mask).hidden, mask, expected):
        close(h[seen], want)
    order = torch.zeros_like(ids)
    order[mask] = torch.cat([torch.arange(len(t)) for t in texts])
    close(m(ids, mask=mask, positions=order).hidden, m(ids, mask=mask).hidden)
    if kind is Decoder:
        state = m.new_state(1)
        steps = [m(t[None, None], state=state).hidden[0] for t in texts[2]]
        close(torch.cat(steps), expected[2])


@pytest.mark.parametrize("kind", [Encoder, Decoder])
@pytest.mark.parametrize("spec", members(Embedding))
def test_embeddings(spec, kind):
    try:
        m = kind(**SIZES, embedding=spec).build(seed=0, dtype=torch.float64).eval()
    except Refused as e:
        assert kind is Decoder and "embedding" in str(e)
        return
    texts = tokens()
    together = m(packed(texts)).hidden.split(LENGTHS)
    for one, t in zip(together, texts):
        close(one, m(t[None]).hidden[0])
    if kind is Decoder:
        state = m.new_state(1)
        close(torch.cat([m(t[None, None], state=state).hidden[0] for t in texts[2]]), together[2])
    m(packed(texts)).hidden.pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in m.embedding.parameters())


@pytest.mark.parametrize("spec", members(Readout))
def test_readouts(spec):
    m = Encoder(**SIZES, readout=spec).build(seed=0, dtype=torch.float64).eval()
    texts = tokens((5, 0, 7, 3))
    ids, mask = padded(texts, "left")
    out = m(ids, mask=mask)
    classes = out.logits.shape[-1]
    per_row = out.logits.dim() == 3
    if per_row:
        assert (out.logits[~mask] == 0).all()
    alone = [m(t[None]).logits[0] for t in texts]
    for got, seen, want in zip(out.logits, mask, alone):
        close(got[seen] if per_row else got, want)
    n = 15 if per_row else 4
    targets = torch.arange(n) % classes
    targets[::2] = IGNORE
    loss, count = m(packed(texts), targets=targets).loss
    logits = m(packed(texts)).logits
    close(loss, torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
    assert int(count) == n // 2
    smooth = m(packed(texts), targets=targets, label_smoothing=0.2).loss[0]
    close(smooth, torch.nn.functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=0.2))
    nothing, none = m(packed(texts), targets=torch.full((n,), IGNORE)).loss
    assert nothing.item() == 0 and int(none) == 0
    nothing.backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in m.parameters())
    if per_row:  # targets in the caller's form are the same rows
        edge = torch.full(mask.shape, IGNORE)
        edge[mask] = targets
        close(m(ids, mask=mask, targets=edge).loss[0], loss)
    m.train()
    assert m(packed(texts), targets=targets, key=Key(0, 0)).loss[0].isfinite()


@pytest.mark.parametrize("spec", members(Readout))
def test_readouts_of_nothing(spec):
    m = Encoder(**SIZES, readout=spec).build(seed=0).eval()
    empty = Packed(torch.zeros(0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), torch.arange(2))
    logits = m(empty).logits
    assert logits.isfinite().all() and logits.shape[0] in (0, 2)
