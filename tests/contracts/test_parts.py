"""Every norm, feed-forward, position, embedding, readout and block: the rows' contract, whatever the part."""

import copy
import json
import pickle

import pytest
import torch
from torch import nn

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.blocks.base import Block
from jorip.core.context import Context
from jorip.core.errors import ConfigError, Refused
from jorip.core.init import Init, Xavier, initialise
from jorip.core.layout import Layout, Packed, Rows
from jorip.core.mask import Causal, Everything
from jorip.core.random import Key
from jorip.parts.attention.base import Mechanism
from jorip.parts.embedding.base import Embedding
from jorip.parts.feedforward.base import FeedForward
from jorip.parts.mixer.base import Mixer
from jorip.parts.nodes.base import Nodes
from jorip.parts.norm.base import Norm
from jorip.parts.position.base import Position
from jorip.parts.readout.base import IGNORE, Readout
from jorip.parts.readout.pooled import Pooled
from jorip.parts.readout.spans import Spans
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

FAMILIES = (Mixer, Mechanism, Nodes, Norm, Position, FeedForward, Embedding, Readout, Init, Block)
EVERY = [pytest.param(f, p.values[0], id=f"{f.__name__}-{p.id}") for f in FAMILIES if f is not Init for p in members(f)]
SIZES = {"vocab_size": VOCAB, "d_model": WIDTH, "n_layers": 2, "n_heads": 2, "max_len": LONGEST}


@pytest.mark.parametrize("family, spec", EVERY)
def test_spec_survives_saving(family, spec):
    written = json.loads(json.dumps(spec.to_dict()))
    assert written == spec.to_dict(), "plain values: what was stored equals what is made again"
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
        names = {"mixer", "feed_forward", "norms"} | ({"cross"} if memory is not None else set())
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


def targets_of(spec, lengths) -> torch.Tensor:
    """What a readout is asked for: a class per row or sequence, a number per sequence, a span per sequence."""
    n = len(lengths)
    if isinstance(spec, Spans):
        return torch.tensor(
            [[IGNORE, IGNORE] if i % 2 or not size else [size - 1, 0] for i, size in enumerate(lengths)]
        )
    if getattr(spec, "n_classes", 2) == 1:
        return torch.tensor([float("nan") if i % 2 else i / 2 for i in range(n)])
    per_row = spec.kind not in ("classifier", "next_sentence")
    targets = torch.arange(sum(lengths) if per_row else n) // 2 % 2
    targets[::2] = IGNORE
    return targets


def plain_loss(logits, targets, lengths, smoothing) -> torch.Tensor:
    """The definition, term by term."""
    if targets.is_floating_point():
        return (logits[:, 0] - targets)[~targets.isnan()].square().sum()
    if targets.dim() == 1:
        return nn.functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    each = [(x[:, k], t[k]) for x, t in zip(logits.split(lengths), targets) for k in (0, 1) if t[k] != IGNORE]
    return sum(nn.functional.cross_entropy(x, t, label_smoothing=smoothing) for x, t in each)


@pytest.mark.parametrize("spec", members(Readout))
def test_readouts(spec):
    m = Encoder(**SIZES, readout=spec).build(seed=0, dtype=torch.float64).eval()
    lengths = (5, 0, 7, 3)
    texts = tokens(lengths)
    ids, mask = padded(texts, "left")
    found = lambda out: out.pooled if isinstance(spec, Pooled) else out.logits  # noqa: E731
    out = m(ids, mask=mask)
    per_row = found(out).dim() == 3
    if per_row:
        assert (out.logits[~mask] == 0).all()
    for got, seen, t in zip(found(out), mask, texts):
        close(got[seen] if per_row else got, found(m(t[None]))[0])
    for name, more in out.readouts.items():
        close(more, torch.cat([m(t[None]).readouts[name] for t in texts]))
    if isinstance(spec, Pooled):
        with pytest.raises(ConfigError, match="pooled decides nothing, so it has no loss"):
            m(ids, mask=mask, targets=torch.zeros(4))
        return
    targets = targets_of(spec, lengths)
    nothing = torch.full_like(targets, float("nan") if targets.is_floating_point() else IGNORE)
    asked = (targets != IGNORE) & (targets == targets)  # not nan
    loss, count = m(packed(texts), targets=targets).loss
    logits = m(packed(texts)).logits
    close(loss, plain_loss(logits, targets, lengths, 0.0))
    assert int(count) == int(asked.sum())
    close(m(packed(texts), targets=targets, label_smoothing=0.2).loss[0], plain_loss(logits, targets, lengths, 0.2))
    zero, none = m(packed(texts), targets=nothing).loss
    assert zero.item() == 0 and int(none) == 0
    zero.backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in m.parameters())
    if per_row and targets.dim() == 1:  # targets in the caller's form are the same rows
        edge = torch.full(mask.shape, IGNORE)
        edge[mask] = targets
        close(m(ids, mask=mask, targets=edge).loss[0], loss)
    m.train()
    both = [m(packed(texts), targets=targets, key=Key(0, 0)).loss[0] for _ in range(2)]
    assert both[0].isfinite() and torch.equal(*both)
    if per_row or targets.dim() == 2:  # padding changes no draw, and the loss is that of the logits
        close(m(ids, mask=mask, targets=targets, key=Key(0, 0)).loss[0], both[0])
        close(plain_loss(m(packed(texts), key=Key(0, 0)).logits, targets, lengths, 0.0), both[0])
    both[0].backward()
    used = [n for n, p in m.readout.named_parameters() if p.grad is None]
    assert not used or all(n.startswith("next_sentence.") for n in used)


@pytest.mark.parametrize("spec", members(Readout))
def test_readouts_of_nothing(spec):
    m = Encoder(**SIZES, readout=spec).build(seed=0).eval()
    empty = Packed(torch.zeros(0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), torch.arange(2))
    out = m(empty)
    found = out.pooled if isinstance(spec, Pooled) else out.logits
    assert found.isfinite().all() and found.shape[0] in (0, 2)
    if isinstance(spec, Spans):
        assert m(empty, targets=torch.full((2, 2), IGNORE)).loss[0].item() == 0
