"""Windows: the blocks are the definition, the ring is the whole history, and neither holds more than it may."""

import pytest
import torch

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.blocks.layers import Cycle
from jorip.blocks.pre_norm import PreNorm
from jorip.core.context import Context
from jorip.core.cost import Shape
from jorip.core.errors import Refused
from jorip.core.layout import Layout, Rows
from jorip.core.mask import Causal, Everything
from jorip.core.random import Key
from jorip.core.site import Site
from jorip.parts.attention.sparse import local
from jorip.parts.attention.sparse.local import Local
from jorip.parts.attention.sparse.rolling import Rolling
from jorip.parts.mixer.multi_head import MultiHead
from tests.contracts.test_cost import flops
from tests.contracts.zoo import build, close, rows

SITE = Site("layers.0.mixer", d_model=12, n_heads=4, n_kv_heads=2, head_dim=6, causal=True)
BOTH = Site("layers.0.mixer", d_model=12, n_heads=4, n_kv_heads=2, head_dim=6)


def run(site, spec, lengths, monkeypatch, block: int, training: bool = False, grad: bool = False):
    """The mixer's rows (and the gradients of its inputs) with blocks of this many rows."""
    monkeypatch.setattr(local, "_BLOCK", block)
    module, x = build(MultiHead(mechanism=spec), site).train(training), rows(lengths, 12)
    v = x.x.clone().requires_grad_(grad)
    ctx = Context(mask=Causal() if site.causal else Everything(), key=Key(1, 2) if training else None)
    y = module(Rows(v, x.at), {}, ctx)[0]
    if not grad:
        return y
    (y * rows(lengths, 12, seed=5).x).sum().backward()
    return y, v.grad, *(p.grad for p in module.parameters())


@pytest.mark.parametrize("site", [SITE, BOTH], ids=["causal", "both"])
@pytest.mark.parametrize("window", [1, 2, 3, 5])
@pytest.mark.parametrize("lengths", [(40,), (40, 23, 0, 1, 37), (41, 41)])
def test_blocks_are_the_definition(site, window, lengths, monkeypatch):
    spec, whole = Local(window=window), 10**6
    want = run(site, spec, lengths, monkeypatch, whole, grad=True)
    for got, w in zip(run(site, spec, lengths, monkeypatch, 1, grad=True), want):
        close(got, w)
    close(run(site, spec, lengths, monkeypatch, 4), want[0])


@pytest.mark.parametrize("site", [SITE, BOTH], ids=["causal", "both"])
def test_the_definition_is_a_band(site, monkeypatch):
    module = Local(window=3).build(site)
    at = Layout.of(torch.tensor([9]))
    s = {n: torch.randn(1, h, 9, 6, dtype=torch.float64) for n, h in (("q", 4), ("k", 2), ("v", 2))}
    w = module.weights(s, at, at, Context(mask=Causal() if site.causal else Everything()))[0, 0]
    for i in range(9):
        seen = set(w[i].nonzero()[:, 0].tolist())
        low, high = (i - 2, i) if site.causal else (i - 3, i + 3)
        assert seen == set(range(max(low, 0), min(high, 8) + 1))


def test_dropout_of_blocks_is_dropout_of_the_whole(monkeypatch):
    for site in (SITE, BOTH):
        spec = Local(window=3, dropout=0.4)
        want = run(site, spec, (40, 7), monkeypatch, 10**6, training=True)
        close(run(site, spec, (40, 7), monkeypatch, 1, training=True), want)
        close(run(site, spec, (7,), monkeypatch, 1, training=True), want_of(site, spec, monkeypatch))
        plain = run(site, Local(window=3), (40, 7), monkeypatch, 1, training=True)
        assert not torch.allclose(plain, want)


def want_of(site, spec, monkeypatch):
    return run(site, spec, (7,), monkeypatch, 10**6, training=True)


@pytest.mark.parametrize("block", [1, 100])
def test_dropout_does_not_depend_on_the_batch(block, monkeypatch):
    monkeypatch.setattr(local, "_BLOCK", block)
    module, x = build(MultiHead(mechanism=Local(window=3, dropout=0.4)), SITE).train(), rows((40, 7), 12)
    both = module(x, {}, Context(mask=Causal(), key=Key(1, 2)))[0]
    alone = Rows(x.x[40:], Layout.of(torch.tensor([7]), torch.tensor([1])))
    close(module(alone, {}, Context(mask=Causal(), key=Key(1, 2)))[0], both[40:])


def model(window: int, **more) -> torch.nn.Module:
    layer = PreNorm(mixer=MultiHead(mechanism=Local(window=window)))
    spec = Decoder(vocab_size=13, d_model=12, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=4, layer=layer)
    return spec.override({"position": "rotary"} | more).build(seed=1, dtype=torch.float64).eval()


@pytest.mark.parametrize("pieces", [(1,) * 12, (5, 1, 1, 5), (2, 10), (12,), (3, 3, 3, 3), (1, 11)])
@pytest.mark.parametrize("window", [1, 2, 4, 50])
@pytest.mark.parametrize("block", [1, 100])
def test_pieces_of_any_length_equal_the_whole(window, pieces, block, monkeypatch):
    monkeypatch.setattr(local, "_BLOCK", block)
    m, ids = model(window), torch.randint(0, 13, (3, 12), generator=torch.Generator().manual_seed(0))
    state, want = m.new_state(3, capacity=2), m(ids).hidden
    with torch.no_grad():
        got = [m(piece, state=state).hidden for piece in ids.split(pieces, 1)]
    close(torch.cat(got, 1), want)
    held = state.parts["layers.0.mixer"]
    assert isinstance(held, Rolling) and held.size <= window and held.lengths.tolist() == [12, 12, 12]


def test_a_ring_never_outgrows_its_window():
    m, state = model(4), model(4).new_state(2, capacity=1000)
    size = state.nbytes
    with torch.no_grad():
        for _ in range(30):
            m(torch.ones(2, 3, dtype=torch.int64), state=state)
    assert state.nbytes == size == 2 * (2 * 2 * 4 * 2 * 4 * 8 + 2 * 8)


def test_full_and_local_layers_in_one_stack(monkeypatch):
    """The pattern of GPT-3, decoded; with a bias on the scores, which the two kinds of layer read at other keys."""
    block = PreNorm(mixer=MultiHead())
    for position in ("rotary", "relative_bias"):
        layer = Cycle(block, block.override({"mixer.mechanism": Local(window=3)}))
        m = model(3, layer=layer, position=position)
        ids, mask = torch.arange(36).reshape(3, 12) % 13, torch.ones(3, 12, dtype=torch.bool)
        mask[1, :5] = False
        state, want = m.new_state(3), m(ids, mask=mask).hidden
        with torch.no_grad():
            got = [
                m(i, mask=seen, state=state).hidden
                for i, seen in zip(ids.split([7, 1, 4], 1), mask.split([7, 1, 4], 1))
            ]
        close(torch.cat(got, 1), want)


@pytest.mark.parametrize("site", [SITE, BOTH], ids=["causal", "both"])
def test_long_costs_are_counted_and_linear(site):
    spec = MultiHead(mechanism=Local(window=5))
    module = build(spec, site)
    for length in (30, 90, 200):
        x = rows((length,) * 2, 12)
        ctx = Context(mask=Causal() if site.causal else Everything())
        assert flops(lambda: module(x, {}, ctx)) == spec.cost(site, Shape(2, length)).flops  # noqa: B023
    some, more, most = (spec.mechanism.cost(site, Shape(1, n)).mixing for n in (3200, 6400, 9600))
    pairs = 64 + (4 if site.causal else 10)  # that are computed for a row: its tile, and the window around it
    assert most - more == more - some == 3200 * 2 * 4 * 6 * pairs and more < 2.02 * some  # the ends see fewer
    assert (
        spec.cost(SITE, Shape(2, 200)).state == 2 * 5 * 2 * 2 * 6 and spec.mechanism.cost(SITE, Shape(1, 41)).path == 10
    )


def test_no_square_array_for_long_sequences():
    spec = Encoder(
        vocab_size=5, d_model=8, n_layers=1, n_heads=2, layer=PreNorm(mixer=MultiHead(mechanism=Local(window=4)))
    )
    m = spec.build(seed=0).eval()
    with torch.no_grad(), torch.profiler.profile(profile_memory=True) as p:
        m(torch.zeros(1, 8192, dtype=torch.int64))
    largest = max(e.self_cpu_memory_usage for e in p.events() or [])
    assert 0 < largest < 8192 * 8192 / 4


def test_refused_across():
    with pytest.raises(Refused, match=r"layers\.0\.cross: a window is over one sequence's own order"):
        Local().build(Site("layers.0.cross", 8, 2, 2, 4, cross=True, d_memory=8))
