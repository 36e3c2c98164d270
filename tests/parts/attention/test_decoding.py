"""Step by step through windows and sinks: equal to the whole pass, far beyond the window, and no more is held."""

import pytest
import torch

from jorip.architectures.decoder import Decoder
from jorip.blocks.layers import Each
from jorip.blocks.pre_norm import PreNorm
from jorip.core.cost import Shape
from jorip.core.layout import Layout
from jorip.core.state import KeyValue
from jorip.parts.attention.patterns.band import Band, Dilated
from jorip.parts.attention.patterns.blocks import Blocked, Blocks
from jorip.parts.attention.patterns.global_ import Global
from jorip.parts.attention.patterns.per_head import PerHead
from jorip.parts.attention.patterns.random import Random
from jorip.parts.attention.patterns.strided import Strided
from jorip.parts.attention.sparse.axial import Axial
from jorip.parts.attention.sparse.image_transformer import ImageTransformer
from jorip.parts.attention.sparse.local import Local
from jorip.parts.attention.sparse.longformer import Longformer
from jorip.parts.attention.sparse.pinned import Pinned
from jorip.parts.attention.sparse.rolling import Held, Rolling
from jorip.parts.attention.sparse.sliding_window import SlidingWindow
from jorip.parts.attention.sparse.sparse import Sparse
from jorip.parts.attention.sparse.sparse_transformer import SparseTransformer
from jorip.parts.mixer.multi_head import MultiHead
from tests.contracts.zoo import close, padded, tokens

SIZES = {"vocab_size": 13, "d_model": 12, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 4}
SPECS = [  # what decoding holds of a sequence of 30 rows
    (SlidingWindow(window=4, sinks=2), Pinned, 2 + 4),
    (SlidingWindow(window=1, sinks=3), Pinned, 3 + 1),
    (SlidingWindow(window=5, sinks=0), Rolling, 5),
    (SlidingWindow(window=100, sinks=4), Pinned, 4 + 30),
    (Longformer(window=3, first=2, separate=False), Pinned, 2 + 4),
    (Longformer(window=2, dilation=(1, 3), first=1, separate=False), Pinned, 1 + 7),
    (Longformer(window=2, dilation=(1, 3), first=0), Rolling, 7),
    (Sparse(pattern=Blocked(size=3, pattern=Band(left=1, right=0) | Global(first=1))), Pinned, 3 + 6),
    (Sparse(pattern=Blocks(size=4, before=1)), Rolling, 8),
    (Sparse(pattern=PerHead(of=(Dilated(left=1, right=0, gap=4), Band(left=2, right=0)))), Rolling, 5),
    (Sparse(pattern=Band(left=1, right=1) | Random(count=2)), KeyValue, 30),
    (Sparse(pattern=Band(left=2, right=0) | Strided(stride=5)), KeyValue, 30),
    (SparseTransformer(stride=4, count=1), KeyValue, 30),
    (SparseTransformer(stride=4, count=2, heads="split"), KeyValue, 30),
    (ImageTransformer(block=4, memory=3), Rolling, 7),
    (ImageTransformer(width=5, block=(1, 2), memory=(1, 1)), Rolling, 10),
    (Axial(width=5), Rolling, 5),
    (Axial(width=5, axis="both"), KeyValue, 30),
]


def model(*mechanisms, **more):
    """Two layers, in float64; positions are rotated unless it is said otherwise."""
    layers = [PreNorm(mixer=MultiHead(mechanism=m)) for m in mechanisms]
    layer = layers[0] if len(layers) == 1 else Each(*layers)
    spec = Decoder(**SIZES | {"layer": layer}).override({"position": "rotary"} | more)
    return spec.build(seed=1, dtype=torch.float64).eval()


@pytest.mark.parametrize("pieces", [(1,) * 30, (9, 1, 1, 1, 8, 1, 1, 8), (1, 29), (30,), (13, 4, 13)])
@pytest.mark.parametrize("spec, kind, held", SPECS)
def test_pieces_of_any_length_equal_the_whole(spec, kind, held, pieces):
    m, ids = model(spec), torch.randint(0, 13, (3, 30), generator=torch.Generator().manual_seed(0))
    state, want = m.new_state(3, capacity=2), m(ids).hidden
    with torch.no_grad():
        got = [m(piece, state=state).hidden for piece in ids.split(pieces, 1)]
    close(torch.cat(got, 1), want)
    part = state.parts["layers.0.mixer"]
    assert isinstance(part, kind) and part.lengths.tolist() == [30] * 3
    if held < 30:
        assert (part.nbytes - part.lengths.nbytes) <= 2 * 3 * held * 2 * 4 * 8


@pytest.mark.parametrize("spec, kind, held", SPECS)
def test_what_is_held_is_what_costs_say(spec, kind, held):
    m = model(spec)
    state = m.new_state(3, capacity=30)
    with torch.no_grad():
        m(torch.zeros(3, 30, dtype=torch.int64), state=state)
    part = state.parts["layers.0.mixer"]
    costs = m.spec.cost(Shape(3, 30)).parts["layers.0.mixer"]
    assert part.nbytes - part.lengths.nbytes == 8 * costs.state == 2 * 3 * held * 2 * 4 * 8
    before = state.nbytes
    if kind is not KeyValue:
        with torch.no_grad():
            for _ in range(40 if held < 30 else 0):
                m(torch.zeros(3, 1, dtype=torch.int64), state=state)
        assert state.nbytes == before, "however long the sequence gets"


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("spec, kind, held", SPECS[:6])
def test_ragged_pieces_with_padding_on_the_left(spec, kind, held, grad):
    m, texts = model(spec), tokens((19, 2, 25, 11), seed=3)
    with torch.set_grad_enabled(grad):
        state = m.new_state(4, capacity=2)
        parts, done = [[] for _ in texts], [0] * 4
        for sizes in ((5, 0, 9, 1), (1, 1, 1, 1), (1, 0, 1, 1), (0, 1, 4, 0), (9, 0, 1, 6), (3, 0, 9, 2)):
            new = [t[d : d + n] for t, d, n in zip(texts, done, sizes)]
            ids, mask = padded(new, "left", max(sizes))
            hidden = m(ids, mask=mask, state=state).hidden
            for i, h in enumerate(hidden):
                parts[i].append(h[mask[i]])
                done[i] += sizes[i]
        for got, t in zip(parts, texts):
            close(torch.cat(got), m(t[None]).hidden[0])


@pytest.mark.parametrize("spec, kind, held", SPECS[:6])
def test_beams_and_snapshots(spec, kind, held):
    m, more = model(spec), tokens((3, 3, 3, 3), seed=5)
    ids, mask = padded(tokens((14, 1, 9)), "left", 14)
    with torch.no_grad():
        state = m.new_state(3, capacity=2)
        m(ids, mask=mask, state=state)
        state.select(torch.tensor([2, 0, 2, 1]))
        prompts = [ids[i][mask[i]] for i in (2, 0, 2, 1)]
        saved = state.snapshot()
        for _ in range(2):
            got = torch.stack([m(torch.stack(more)[:, [i]], state=state).hidden[:, 0] for i in range(3)], 1)
            for g, a, b in zip(got, prompts, more):
                close(g, m(torch.cat([a, b])[None]).hidden[0, -3:])
            m(torch.ones(4, 20, dtype=torch.int64), state=state)  # lose the way
            state.restore(saved)
        state.select(torch.tensor([3, 1]))
        got = m(torch.stack(more[:2]), state=state).hidden
        for g, a, b in zip(got, (prompts[3], prompts[1]), more):
            close(g, m(torch.cat([a, b])[None]).hidden[0, -3:])


@pytest.mark.parametrize("position", ["rotary", "relative_bias", "alibi"])
def test_layers_that_hold_equally_many_different_rows(position):
    """Both hold five rows, of different places: what one's scores are biased by is not for the other."""
    m = model(SlidingWindow(window=3, sinks=2), Sparse(pattern=Band(left=4, right=0)), position=position)
    same = model(Local(window=5), SlidingWindow(window=2, sinks=3), position=position)
    ids = torch.randint(0, 13, (3, 20), generator=torch.Generator().manual_seed(0))
    for each in (m, same):
        state, want = each.new_state(3), each(ids).hidden
        with torch.no_grad():
            got = [each(piece, state=state).hidden for piece in ids.split([3, 5, *[1] * 12], 1)]
        close(torch.cat(got, 1), want)


def test_gradients_flow_through_pinned_rows():
    m, ids = model(SlidingWindow(window=3, sinks=2)), torch.stack(tokens((9, 9)))

    def gradients(pieces):
        m.zero_grad()
        state = m.new_state(2) if len(pieces) > 1 else None
        sum(m(p, state=state).hidden.pow(2).sum() for p in pieces).backward()
        return [p.grad.clone() for p in m.parameters()]

    for got, want in zip(gradients(ids.split([4, 1, 1, 3], 1)), gradients([ids])):
        close(got, want)


def test_pinned_names_each_row_once():
    """First rows and ring, at any length: the places are those that the mask may show, and none twice."""
    shapes = {"k": (1, 1)}
    state = Pinned.empty(2, 1, 3, 4, shapes, torch.float64)
    done = torch.tensor([0, 0])
    for step, sizes in enumerate(([2, 0], [1, 1], [1, 1], [1, 0], [4, 1], [1, 1], [1, 1], [1, 1])):
        new = torch.tensor(sizes)
        at = Layout.of(new, start=done if step else None)
        k = at.order.to(torch.float64)[:, None, None]
        views, k_at = state.append({"k": k}, at)
        done = done + new
        assert state.lengths.tolist() == done.tolist()
        if isinstance(k_at, Layout):
            continue
        assert isinstance(k_at, Held)
        for i in range(2):
            places = k_at.grid_order[i][k_at.real[i]].tolist()
            assert len(set(places)) == len(places)
            n, first = int(done[i]), int(done[i]) - max(sizes[i], 1)
            assert set(places) >= {p for p in range(n) if p < 3 or p > first - 4 + (sizes[i] == 0)}
            assert views["k"][i, 0, k_at.real[i], 0].tolist() == places
    kept = state.snapshot()
    assert kept.nbytes == state.nbytes and kept.first == 3
    state.select(torch.tensor([1]))
    assert state.lengths.tolist() == [int(done[1])] and kept.lengths.tolist() == done.tolist()
    state.restore(kept)
    assert state.lengths.tolist() == done.tolist()
