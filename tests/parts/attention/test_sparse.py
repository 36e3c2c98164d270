"""Attention over patterns as a mechanism: both executors, any batch, full attention as its limit, what it costs."""

from dataclasses import replace

import pytest
import torch

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.blocks.pre_norm import PreNorm
from jorip.core.context import Context
from jorip.core.cost import Shape
from jorip.core.errors import Refused
from jorip.core.layout import Layout, Rows
from jorip.core.mask import Everything, Same
from jorip.parts.attention.full import Full
from jorip.parts.attention.patterns.band import Band, Dilated
from jorip.parts.attention.patterns.blocks import Blocked, Blocks
from jorip.parts.attention.patterns.global_ import Global
from jorip.parts.attention.patterns.per_head import PerHead
from jorip.parts.attention.patterns.random import Random
from jorip.parts.attention.patterns.strided import Fixed, Strided
from jorip.parts.attention.sparse import patterned
from jorip.parts.attention.sparse.axial import Axial
from jorip.parts.attention.sparse.image_transformer import ImageTransformer
from jorip.parts.attention.sparse.local import Local
from jorip.parts.attention.sparse.sliding_window import SlidingWindow
from jorip.parts.attention.sparse.sparse import Sparse
from jorip.parts.attention.sparse.sparse_transformer import SparseTransformer
from jorip.parts.mixer.multi_head import MultiHead
from tests.contracts.test_cost import flops
from tests.contracts.zoo import VOCAB, apply, build, close, context, padded, rows, site, tokens

LONG = (150, 7, 0, 1, 139)
SPECS = [
    Sparse(pattern=Band(left=3, right=2) | Global(first=2)),
    Sparse(pattern=Dilated(left=2, right=2, gap=5) | Global(first=1, rows=False)),
    Sparse(pattern=Band(left=1, right=1) | Random(count=2)),
    Sparse(pattern=Blocked(size=8, pattern=Band(left=1, right=1) | Random(count=1) | Global(first=1))),
    Sparse(pattern=Strided(stride=12) | Blocks(size=12)),
    SparseTransformer(stride=12, count=2),
    SparseTransformer(stride=12, factors="strided"),
    SparseTransformer(stride=12, factors="strided", heads="split"),
    SparseTransformer(stride=12, count=3, heads="split"),
    ImageTransformer(block=16, memory=11),
    ImageTransformer(width=12, block=(4, 3), memory=(2, 1)),
    ImageTransformer(width=100, block=(1, 10), memory=(1, 5)),
    Axial(width=12),
    Axial(width=12, axis="column"),
    Axial(width=12, axis="both"),
    SlidingWindow(window=9, sinks=3),
]


def at(causal: bool, **changes):
    return site(causal, max_len=None, **changes)


def both(spec, s, x: Rows, **more):
    """Rows and gradients, dense and in tiles."""
    found = []
    for executor in ("dense", "tiles"):
        module = build(MultiHead(mechanism=spec.with_fields(executor=executor)), s)
        v = x.x.clone().requires_grad_()
        y = apply(module, Rows(v, x.at), s, **more)
        (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)).sum().backward()
        found.append([y, v.grad, *(p.grad for p in module.parameters())])
    return zip(*found)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("spec", SPECS)
def test_tiles_are_the_dense_definition(spec, causal):
    for dense, tiled in both(spec, at(causal), rows(LONG)):
        close(tiled, dense, 1e-9)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads, kv", [(3, 1), (6, 2), (1, 1)])
def test_odd_heads_and_grouped_queries(heads, kv, causal):
    spec = Sparse(pattern=Band(left=3, right=2) | Global(first=2) | Random(count=1))
    for dense, tiled in both(spec, at(causal, n_heads=heads, n_kv_heads=kv, head_dim=3), rows(LONG)):
        close(tiled, dense, 1e-9)


def test_three_patterns_for_three_heads():
    pattern = PerHead(of=(Band(left=3, right=3), Strided(stride=7), Random(count=2) | Band(left=1, right=0)))
    s = at(False, n_heads=6, n_kv_heads=3, head_dim=2)
    for dense, tiled in both(Sparse(pattern=pattern), s, rows(LONG)):
        close(tiled, dense, 1e-9)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("spec", SPECS)
def test_bfloat16(spec, causal):
    x = rows((150, 9), dtype=torch.bfloat16)
    double = build(MultiHead(mechanism=spec), at(causal))
    exact = apply(double, Rows(x.x.double(), x.at), at(causal))
    for executor in ("dense", "tiles"):
        module = build(MultiHead(mechanism=spec.with_fields(executor=executor)), at(causal), torch.bfloat16)
        module.load_state_dict(double.state_dict())
        torch.testing.assert_close(apply(module, x, at(causal)).double(), exact, rtol=0.1, atol=0.1)


EVERYTHING = [
    Sparse(pattern=Band(left=200, right=200)),
    Sparse(pattern=Band(left=1, right=0) | Global(first=200)),
    Sparse(pattern=Global(first=200, rows=False)),
    Sparse(pattern=Dilated(left=200, right=200, gap=1)),
    Sparse(pattern=Strided(stride=1)),
    Sparse(pattern=Fixed(stride=3, count=3)),
    Sparse(pattern=Blocks(size=200)),
    Sparse(pattern=Blocks(size=8, before=20, after=20)),
    Sparse(pattern=Blocked(size=200, pattern=Random(count=1))),
    Sparse(pattern=Blocked(size=10, pattern=Band(left=20, right=20))),
    Sparse(pattern=PerHead(of=(Strided(stride=1), Blocks(size=200)))),
    SparseTransformer(stride=200, count=1),
    SparseTransformer(stride=3, count=3),
    SparseTransformer(stride=1, factors="strided"),
    ImageTransformer(block=200, memory=0),
    ImageTransformer(block=16, memory=200),
    ImageTransformer(width=10, block=(20, 10), memory=(0, 0)),
    ImageTransformer(width=10, block=(2, 2), memory=(20, 10)),
    Axial(width=200),
    Axial(width=1, axis="column"),
    SlidingWindow(window=200),
    SlidingWindow(window=1, sinks=200),
]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("spec", EVERYTHING)
def test_a_pattern_of_everything_is_full_attention(spec, causal):
    """Window as long as the input, everything global, one block, one residue class, a stride of one."""
    full, x = build(MultiHead(mechanism=Full()), at(causal)), rows(LONG)
    want = apply(full, x, at(causal))
    for executor in ("dense", "tiles", "auto"):
        module = build(MultiHead(mechanism=spec.with_fields(executor=executor)), at(causal))
        module.load_state_dict(full.state_dict())
        close(apply(module, x, at(causal)), want)


def test_each_atom_is_its_map_row_and_sees_nothing_else():
    """Exactly zero weight and zero gradient outside of the pattern."""
    n = 20
    where = Layout.of(torch.tensor([n]))
    for spec in SPECS:
        for causal in (False, True):
            for executor in ("dense", "tiles"):
                module = spec.with_fields(executor=executor).build(at(causal))
                s = {x: torch.randn(1, 2, n, 4, dtype=torch.float64) for x in "qkv"}
                ctx = context(at(causal))
                seen = module.weights(s, where, where, ctx)[0] != 0
                v = s["v"].clone().requires_grad_()
                y, _ = module(s | {"v": v}, where, where, {}, ctx)
                for head in range(2):
                    for i in (0, 7, n - 1):
                        (g,) = torch.autograd.grad(y[0, head, i].sum(), v, retain_graph=True)
                        assert torch.equal((g[0, head] != 0).any(-1), seen[head, i])
                        assert not (g[0, 1 - head] != 0).any()


def test_sliding_window_is_local_with_sinks():
    for causal in (False, True):
        x = rows(LONG)
        a = build(MultiHead(mechanism=SlidingWindow(window=5, sinks=0)), at(causal))
        b = build(MultiHead(mechanism=Local(window=5)), at(causal))
        close(apply(a, x, at(causal)), apply(b, x, at(causal)))
    w = SlidingWindow(window=3, sinks=2).build(at(True))
    q = torch.zeros(1, 2, 9, 4, dtype=torch.float64)
    where = Layout.of(torch.tensor([9]))
    got = w.weights({"q": q, "k": q, "v": q}, where, where, context(at(True)))[0, 0]
    for i in range(9):
        assert set(got[i].nonzero()[:, 0].tolist()) == {j for j in range(i + 1) if j > i - 3 or j < 2}


@pytest.mark.parametrize("spec", SPECS)
def test_left_padding_through_a_model(spec):
    layer = PreNorm(mixer=MultiHead(mechanism=spec.with_fields(executor="tiles")))
    m = Encoder(vocab_size=VOCAB, d_model=8, n_layers=2, n_heads=2, layer=layer).build(seed=1, dtype=torch.float64)
    m.eval()
    texts = tokens((50, 1, 33))
    alone = torch.cat([m(t[None]).hidden[0] for t in texts])
    for where in ("left", "right", "inside"):
        ids, mask = padded(texts, where)
        close(m(ids, mask=mask).hidden[mask], alone)


def test_other_masks_and_biases_take_the_definition():
    x = rows((150, 9))
    tagged = Rows(x.x, replace(x.at, tags={"part": (x.at.order >= 40).long()}))
    spec = Sparse(pattern=Band(left=5, right=5) | Global(first=1))
    found = []
    for executor in ("dense", "tiles"):
        module = build(MultiHead(mechanism=spec.with_fields(executor=executor)), at(False))
        found.append(module(tagged, {}, Context(mask=Everything() & Same("part")))[0])
    close(*found)
    assert not torch.allclose(found[0], apply(module, x, at(False)))


def test_short_inputs_and_wide_windows_take_all_pairs(monkeypatch):
    """Whatever runs, the answer is the same; below a size tiles save nothing."""
    ran, real = [], patterned.run
    monkeypatch.setattr(patterned, "run", lambda *a: ran.append(1) or real(*a))
    for window, length, tiles in ((3, 128, 0), (3, 1000, 1), (300, 1000, 0)):
        ran.clear()
        module = build(MultiHead(mechanism=Sparse(pattern=Band(left=window, right=window))), at(False))
        apply(module, rows((length,)), at(False))
        assert len(ran) == tiles, (window, length)


def test_programs_are_made_once():
    patterned.program_of.cache_clear()
    spec = Sparse(pattern=Band(left=3, right=3) | Global(first=1), executor="tiles")
    modules = [build(MultiHead(mechanism=spec), at(False, path=f"layers.{i}.mixer")) for i in range(3)]
    for lengths in ((50, 50), (50, 3), (50,)):
        for m in modules:
            apply(m, rows(lengths), at(False))
    info = patterned.program_of.cache_info()
    assert info.misses == 1 and info.hits == 8, "one for all layers and all batches whose longest is as long"
    drawn = Sparse(pattern=Random(count=2), executor="tiles")
    modules = [build(MultiHead(mechanism=drawn), at(False, path=f"layers.{i}.mixer")) for i in range(2)]
    ctx = Context()
    x = rows((50, 3))
    for m in modules * 2:
        m(x, {}, ctx)
    assert len([n for n in ctx.shared if n[0] == "program"]) == 2, "each layer has its own graph; once per call"


def test_layers_draw_different_graphs():
    maps = []
    for i in range(2):
        m = Sparse(pattern=Random(count=2)).build(at(False, path=f"layers.{i}.mixer"))
        q, where = torch.zeros(1, 2, 30, 4), Layout.of(torch.tensor([30]))
        maps.append(m.weights({"q": q, "k": q, "v": q}, where, where, Context()))
    assert not torch.equal(*maps)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("spec", [*SPECS, Sparse(pattern=PerHead(of=(Band(left=2, right=2), Strided(stride=2))))])
def test_flops_are_counted(spec, causal):
    for executor in ("dense", "tiles", "auto"):
        mixer = MultiHead(mechanism=spec.with_fields(executor=executor))
        module = build(mixer, at(causal))
        for length in (1, 40, 300):
            x = rows((length,) * 2)
            assert flops(lambda: apply(module, x, at(causal))) == mixer.cost(at(causal), Shape(2, length)).flops  # noqa: B023


@pytest.mark.parametrize(
    "pattern, length, causal, layers",
    [
        (Band(left=2, right=2), 41, False, 20),
        (Band(left=2, right=2), 41, True, 20),
        (Band(left=0, right=0), 5, False, 1),
        (Band(left=1, right=1) | Global(first=1), 41, False, 2),
        (Band(left=1, right=1) | Global(first=1, rows=False), 41, False, 40),
        (Blocks(size=8), 40, False, 1),
        (Blocks(size=8) | Strided(stride=8), 64, False, 2),
        (Strided(stride=8), 64, False, 1),
        (Blocks(size=8) | Fixed(stride=8, count=1), 64, True, 2),
        (Global(tag="x") | Band(left=1, right=1), 9, False, 8),
        (PerHead(of=(Blocks(size=8), Strided(stride=8))), 64, False, 2),
        (Band(left=5, right=5), 1, False, 1),
    ],
)
def test_path_lengths(pattern, length, causal, layers):
    spec = Sparse(pattern=pattern)
    assert patterned.layers_to_span(pattern, length, causal, 2) == layers
    if "tag" not in repr(pattern):
        assert spec.cost(at(causal), Shape(1, length)).path == layers


def test_costs_are_linear():
    for spec in (Sparse(pattern=Band(left=8, right=8) | Global(first=4)), ImageTransformer(), SlidingWindow()):
        short, long = (spec.cost(at(False), Shape(1, n)).mixing for n in (2**16, 2**17))
        assert long < 2.01 * short


def test_refused_across():
    for spec in SPECS:
        with pytest.raises(Refused, match=rf"{spec.kind} is a pattern over one sequence's own order, a memory has"):
            spec.build(site(False, True))


@pytest.mark.parametrize("causal", [True, False])
def test_masks_of_short_rows_are_made_once_and_are_the_definition(causal):
    """Full batches of one length share a kept mask; a batch with holes has its own, and the same answers."""
    layer = PreNorm(
        mixer=MultiHead(mechanism=Sparse(pattern=Band(left=3, right=3) | Random(count=2), executor="dense"))
    )
    arch = Decoder if causal else Encoder
    m = arch(vocab_size=9, d_model=8, n_layers=1, n_heads=2, layer=layer).build(seed=0).double().eval()
    ids, mask = torch.arange(42).reshape(3, 14) % 9, torch.ones(3, 14, dtype=torch.bool)
    before = patterned.mask_of.cache_info()
    want = m(ids).hidden
    close(m(ids[:1]).hidden, want[:1])
    after = patterned.mask_of.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 1)
    mask[1:, -2:] = False
    got = m(ids, mask=mask).hidden
    assert patterned.mask_of.cache_info() == after
    close(got[0], want[0])
    if causal:
        close(got[1:, :-2], want[1:, :-2])


CAUSAL = [
    SparseTransformer(),
    SparseTransformer(stride=32, count=8),
    Sparse(pattern=Band(left=3) | Global(first=2)),
    Sparse(pattern=Random(count=2)),
    Sparse(pattern=Global(first=1)),
    Local(window=100),
    Local(window=200),
]


@pytest.mark.parametrize("length", [129, 300, 512, 513])
@pytest.mark.parametrize("spec", CAUSAL, ids=str)
def test_a_few_hundred_rows_of_a_causal_stack_are_the_definition(spec, length):
    """In stairs or in tiles, and beside sequences that are shorter, where stairs do not fit: values and gradients."""
    here, ctx = at(True), context(at(True))
    module = spec.build(here)
    for lengths in ((length,), (length, length), (length, 7)):
        where, g = Layout.of(torch.tensor(lengths)), torch.Generator().manual_seed(length)
        size = (len(lengths), here.n_heads, length, here.head_dim)
        s = {n: torch.randn(size, generator=g, dtype=torch.float64, requires_grad=True) for n in "qkv"}
        found, want = module(s, where, where, {}, ctx)[0], module.weights(s, where, where, ctx) @ s["v"]
        real = where.real[:, None, :, None]
        close(found * real, want * real)
        gy = want.detach().cos() * real
        for a, b in zip(torch.autograd.grad(found, s.values(), gy), torch.autograd.grad(want, s.values(), gy)):
            close(a, b)


@pytest.mark.parametrize("count, length, dense", [(8, 512, True), (8, 300, True), (4, 512, False), (8, 700, False)])
def test_many_single_edges_of_a_short_input_are_all_pairs(count, length, dense):
    """Fetching a key for each takes longer than a mask that is kept; nothing is drawn to find that out."""
    spec, at = MultiHead(mechanism=Sparse(pattern=Random(count=count))), site(max_len=None)
    x, module = rows((length,)), build(spec, at)
    patterned.program_of.cache_clear()
    y = apply(module, x, at)
    assert (patterned.program_of.cache_info().currsize == 0) == dense
    tiles = build(spec.override({"mechanism.executor": "tiles"}), at)
    close(y, apply(tiles, x, at))
    mixing = at.n_heads * at.head_dim * length * (length if dense else count)
    assert spec.cost(at, Shape(1, length)).mixing == 2 * mixing
