"""BP-Transformer: its graph against loops, its tiles against all pairs, its identity with full attention, its cost."""

from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import jorip
from jorip.core.context import Context
from jorip.core.cost import Shape
from jorip.core.errors import ConfigError, Refused
from jorip.core.layout import Layout
from jorip.core.mask import Causal, Everything, Same
from jorip.ops import postorder
from jorip.parts.attention.patterns.tree import Tree
from jorip.parts.attention.sparse.bp_transformer import BpTransformer
from jorip.parts.attention.sparse.program import Situation, seen
from jorip.parts.attention.sparse.tree_plan import tree_plan
from jorip.parts.nodes.spans import SpanNodes
from tests.contracts.zoo import close, packed, site, tokens
from tests.ops.test_postorder import line

SIZES = {"vocab_size": 13, "d_model": 8, "n_layers": 2, "n_heads": 2}
LENGTHS = [(5, 1, 7, 3), (70, 200, 0, 129), (130, 130), (64,), (1,)]


def graph(n: int, near: int, causal: bool) -> torch.Tensor:
    """The paper's edges, one by one: (nodes, nodes) bool."""
    place = {node: i for i, node in enumerate(line(n, causal))}
    edges = torch.zeros(len(place), len(place), dtype=torch.bool)
    for (level, m), i in place.items():
        if level:
            for row in range(m << level, min(n, (m + 1) << level)):
                edges[i, place[0, row]] = True
            continue
        edges[i, i] = True
        for side in (-1,) if causal else (-1, 1):
            first = m + side
            for above in range(12):
                for j in range(near):
                    if (above, first + side * j) in place:
                        edges[i, place[above, first + side * j]] = True
                first = (first + side * near) // 2
    return edges


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("near", [1, 2, 3, 7])
def test_the_pattern_is_the_papers_graph(near, causal):
    for n in [*range(1, 36), 64, 100, 131]:
        edges = graph(n, near, causal)
        size = len(edges)
        place = torch.arange(size)[None]
        found = seen(Tree(near=near), Situation(torch.tensor([size]), size, 1, causal, 0, {}), place, place)[0, 0]
        found = found & (place <= place.T) if causal else found
        assert torch.equal(found, edges), n


@pytest.mark.parametrize("near", [1, 3])
def test_every_row_is_seen_through_few_nodes(near):
    """Through its nodes a row sees every row of the sequence; what it reads grows as a logarithm."""
    for n in (1, 2, 17, 64, 100, 257):
        nodes, edges = line(n, False), graph(n, near, False)
        for i, (level, row) in enumerate(nodes):
            if level == 0:
                held = [0] * n
                for j in edges[i].nonzero()[:, 0].tolist():
                    above, m = nodes[j]
                    for r in range(m << above, min(n, (m + 1) << above)):
                        held[r] += 1
                assert min(held) == 1 and held[row] == 1
        most = 2 * near * (1 + n.bit_length()) + 1
        rows = [i for i, (level, _) in enumerate(nodes) if level == 0]
        assert int(edges[rows].sum(1).max()) <= most


def model(causal: bool, position="sinusoidal", dtype=torch.float64, **fields):
    kind = jorip.Decoder if causal else jorip.Encoder
    mixer = jorip.MultiHead(mechanism=BpTransformer(**fields))
    spec = kind(**SIZES, nodes=SpanNodes(), position=position, layer=jorip.PreNorm(mixer=mixer))
    return spec.build(seed=0, dtype=dtype).eval()


def gradients(m, texts):
    m.zero_grad()
    h = m(packed(texts)).hidden
    h.pow(2).sum().backward()
    return h, [p.grad.clone() for p in m.parameters() if p.grad is not None]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("position", ["sinusoidal", "rotary"])
@pytest.mark.parametrize("near", [1, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_tiles_equal_all_pairs(causal, near, position, lengths):
    texts = tokens(lengths)
    h, grads = gradients(model(causal, position, near=near, executor="tiles"), texts)
    g, others = gradients(model(causal, position, near=near, executor="dense"), texts)
    close(h, g)
    for a, b in zip(grads, others):
        close(a, b, 1e-9)
    m = model(causal, position, near=near, executor="tiles")
    close(h, torch.cat([m(t[None]).hidden[0] for t in texts if len(t)]))


@pytest.mark.parametrize("causal", [False, True])
def test_grouped_heads_and_bfloat16(causal):
    for heads in (1, 2):
        kind = jorip.Decoder if causal else jorip.Encoder
        build = lambda e, heads=heads, kind=kind: kind(  # noqa: E731
            **SIZES, n_kv_heads=heads, nodes="spans",
            layer=jorip.PreNorm(mixer=jorip.MultiHead(mechanism=BpTransformer(near=2, executor=e))),
        ).build(seed=0, dtype=torch.float64).eval()  # fmt: skip
        texts = packed(tokens((150, 3)))
        close(build("tiles")(texts).hidden, build("dense")(texts).hidden)
        rough = build("tiles").bfloat16()(texts).hidden
        torch.testing.assert_close(rough.double(), build("dense")(texts).hidden, rtol=0.1, atol=0.15)


def test_a_bias_of_positions_takes_all_pairs_and_is_none_for_spans():
    m, texts = model(False, "alibi", near=2, executor="tiles"), tokens((40, 9))
    ctx = m(packed(texts), capture=("layers.1.mixer",))
    assert ctx.captures["layers.1.mixer"].shape == (2, 2, 40, 40)
    close(ctx.hidden, torch.cat([m(t[None]).hidden[0] for t in texts]))
    close(ctx.hidden, model(False, "alibi", near=2, executor="dense")(packed(texts)).hidden)


@pytest.mark.parametrize("causal", [False, True])
def test_near_enough_is_full_attention_over_the_rows(causal):
    """Rows then never read a span."""
    kind = jorip.Decoder if causal else jorip.Encoder
    full = kind(**SIZES).build(seed=0, dtype=torch.float64).eval()
    texts = packed(tokens((90, 5)))
    for executor in ("tiles", "dense"):
        m = model(causal, near=100, executor=executor)
        assert m.load_state_dict(full.state_dict(), strict=True)
        close(m(texts).hidden, full(texts).hidden)


def test_spans_turn_as_the_row_in_their_middle():
    at, own = SpanNodes().build(site()).layout(Layout.of(torch.tensor([5, 0, 2]), positions=torch.arange(10, 17)))
    assert at.lengths.tolist() == [11, 0, 3]
    # rows 0 1 (01) 2 3 (23) (0123) 4 and what the end cuts off: (4) (4) (all)
    assert at.positions.tolist() == [10, 11, 10, 12, 13, 12, 11, 14, 14, 14, 12, 15, 16, 15]
    assert own.tolist() == [0, 1, 3, 4, 7, 11, 12]


def test_cost_is_what_is_computed_and_grows_as_t_log_t():
    for causal in (False, True):
        for n, executor in ((200, "tiles"), (200, "dense"), (70, "auto")):
            m = model(causal, near=2, executor=executor)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                at, _ = m.nodes.layout(Layout.of(torch.tensor([n, n])))
                g = torch.randn(2, 2, at.longest, 4, dtype=torch.float64)
                m.layers[0].mixer.mechanism({"q": g, "k": g, "v": g}, at, at, {}, context(causal))
            rows = m.spec.nodes.shape(Shape(2, n), causal)
            inside = m.spec.nodes.inside(site(causal))
            cost = BpTransformer.parse({"bp_transformer": {"near": 2, "executor": executor}}).cost(inside, rows)
            if executor == "tiles":
                assert counter.get_total_flops() == cost.flops
            else:
                assert cost.mixing == 2 * 2 * rows.length**2 * 8
    pairs = [tree_plan(n, 4, False, "cpu").pairs for n in (1024, 2048, 4096, 8192)]
    assert all(b < 2.3 * a for a, b in pairwise(pairs))


def context(causal: bool) -> Context:
    return Context(mask=Causal() if causal else Everything())


def test_refusals():
    with pytest.raises(Refused, match=r"layers\.1\.mixer: bp_transformer reads spans, .*: set nodes=spans on it"):
        BpTransformer().check(site())
    with pytest.raises(Refused, match="bp_transformer is a pattern over one sequence's own order"):
        BpTransformer().check(site(False, True, nodes="spans"))
    with pytest.raises(Refused, match=r"layers\.1\.mixer: tree reads spans"):
        jorip.Sparse(pattern=Tree()).check(site())
    lonely = jorip.Encoder(**SIZES, layer=jorip.PreNorm(mixer=jorip.MultiHead(mechanism=BpTransformer())))
    with pytest.raises(Refused, match="set nodes=spans"):
        lonely.build(device="meta")
    m = model(False)
    at = Layout.of(torch.tensor([3]))
    with pytest.raises(ConfigError, match=r"this call's mask \(Same\) says which rows may be seen, and nothing about"):
        m.run(torch.zeros(3, dtype=torch.int64), at, Context(mask=Same("document")))


@pytest.mark.parametrize("position", ["sinusoidal", "rotary", "alibi"])
def test_generate(position):
    m = model(True, position, near=1)
    ids = torch.randint(0, 13, (2, 5), generator=torch.Generator().manual_seed(1))
    new = m.generate(ids, max_new_tokens=9)
    for step in range(9):
        logits = m(torch.cat([ids, new[:, :step]], 1)).logits[:, -1]
        assert torch.equal(logits.argmax(-1), new[:, step])
    assert m.generate(ids, max_new_tokens=4, beams=3).shape == (2, 4)


def test_reading_a_source():
    ids = torch.randint(0, 13, (2, 5), generator=torch.Generator().manual_seed(1))
    spans = {"nodes": "spans", "layer": jorip.PreNorm(mixer=jorip.MultiHead(mechanism=BpTransformer(near=1)))}
    both = jorip.EncoderDecoder(encoder=jorip.Encoder(**SIZES, **spans), decoder=jorip.Decoder(**SIZES, **spans))
    pair = both.build(seed=0, dtype=torch.float64).eval()
    out = pair(ids, ids[:, :3], capture=("decoder.layers.0.cross", "decoder.layers.1.mixer"))
    assert out.memory.x.shape == (10, 8) and out.hidden.shape == (2, 3, 8)
    assert out.captures["decoder.layers.0.cross"].shape == (2, 2, 3, 5)
    assert out.captures["decoder.layers.1.mixer"].shape == (2, 2, 3, 3)
    assert pair.generate(ids, max_new_tokens=6, bos=1, beams=2).shape[0] == 2


def test_rows_of_the_plan():
    for n in (1, 64, 65, 200, 1000):
        padded = -(-n // 64) * 64
        plan = tree_plan(padded, 3, False, "cpu")
        assert plan.rows.table.max() < plan.length and plan.padded == padded
    assert int(postorder.rows_of(torch.tensor(11))) == 5
