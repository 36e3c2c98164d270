"""Star-Transformer and ETC: against the definition with its four pieces, written out; full attention as their limit."""

import pytest
import torch

import jorip
from jorip.core.context import Context
from jorip.core.cost import Shape
from jorip.core.errors import ConfigError, Refused
from jorip.core.layout import Layout, Rows
from jorip.parts.attention.sparse.etc import Etc
from jorip.parts.attention.sparse.star import Star
from jorip.parts.nodes.hubs import Hubs
from tests.contracts.zoo import apply, build, close, packed, padded, rows, site, tokens

SIZES = {"vocab_size": 13, "d_model": 8, "n_layers": 2, "n_heads": 2}
LENGTHS = (6, 1, 9, 3)  # hubs included


def model(mechanism, hubs=2, **more):
    layer = jorip.PreNorm(mixer=jorip.MultiHead(mechanism=mechanism))
    spec = jorip.Encoder(**SIZES, nodes=Hubs(count=hubs, start="mean"), layer=layer, **more)
    return spec.build(seed=0, dtype=torch.float64).eval()


def four_pieces(module, x, hubs: int, reach: int, segments=None) -> torch.Tensor:
    """softmax over [hubs || rows], sequence by sequence and query by query."""
    found = []
    for s, one in enumerate(x.x.split(x.at.lengths.tolist())):
        q, k, v = (module.get_submodule(n)(one).unflatten(-1, (2, 4)).transpose(0, 1) for n in "qkv")
        y = torch.zeros_like(q)
        for i in range(len(one)):
            if i < hubs:  # hubs to hubs, hubs to rows
                keys = [j for j in range(len(one)) if j < hubs or segments is None or segments[s][j - hubs] == i]
            else:  # rows to hubs, rows to rows
                keys = [j for j in range(len(one)) if j < hubs or abs(i - j) <= reach]
            for h in range(2):
                y[h, i] = (q[h, i] @ k[h, keys].T / 2).softmax(-1) @ v[h, keys]
        found.append(module.out(y.transpose(0, 1).flatten(1)))
    return torch.cat(found)


CASES = [
    (Star(executor="dense"), 1, 1),
    (Star(executor="tiles"), 1, 1),
    (Star(neighbours=2, executor="tiles"), 2, 2),
    (Etc(window=0, executor="tiles"), 1, 0),
    (Etc(window=2, executor="dense"), 3, 2),
    (Etc(window=2, executor="tiles"), 3, 2),
]


@pytest.mark.parametrize("lengths", [LENGTHS, (5, 5), (4, 140, 71)])
@pytest.mark.parametrize("mechanism, hubs, reach", CASES)
def test_four_pieces(mechanism, hubs, reach, lengths):
    if lengths[1] == 140 and mechanism.executor == "dense":
        lengths = (4, 40, 71)
    at, x = Hubs(count=hubs).inside(site()), rows(tuple(n - 1 + hubs for n in lengths))
    module = build(jorip.MultiHead(mechanism=mechanism), at)
    close(apply(module, x, at), four_pieces(module, x, hubs, reach))


@pytest.mark.parametrize("mechanism", [Star(neighbours=40), Etc(window=40)])
@pytest.mark.parametrize("executor", ["dense", "tiles"])
def test_a_band_over_everything_is_full_attention_over_rows_and_hubs(mechanism, executor):
    texts = packed(tokens((30, 1, 40)))
    close(model(mechanism.with_fields(executor=executor))(texts).hidden, model(jorip.Full())(texts).hidden)


@pytest.mark.parametrize("position", ["rotary", "alibi", "relative_bias"])
@pytest.mark.parametrize("mechanism", [Star(neighbours=40), Etc(window=40, executor="tiles")])
def test_positions_are_those_of_full_attention(mechanism, position):
    texts = packed(tokens((30, 1, 40)))
    full = model(jorip.Full(), position=position)
    close(model(mechanism, position=position)(texts).hidden, full(texts).hidden)


@pytest.mark.parametrize("mechanism", [Star(), Etc(window=3)])
def test_tiles_have_the_same_gradients(mechanism):
    def gradients(executor):
        m = model(mechanism.with_fields(executor=executor))
        m(packed(tokens((70, 2, 130)))).hidden.pow(2).sum().backward()
        return [p.grad for p in m.parameters()]

    for a, b in zip(gradients("tiles"), gradients("dense")):
        close(a, b, 1e-9)


BEGIN: list[list[int]] = [
    [1, 0, 0, 1, 0],
    [],
    [0, 1, 1, 0, 0, 0, 1, 0],
    [1, 1],
]  # of segments; the rest of LENGTHS behind one hub


@pytest.mark.parametrize("executor", ["dense", "tiles"])
@pytest.mark.parametrize("hubs", [1, 3])
def test_a_hub_reads_its_own_segment(executor, hubs):
    at, x = Hubs(count=hubs).inside(site()), rows(tuple(n - 1 + hubs for n in LENGTHS))
    module = build(jorip.MultiHead(mechanism=Etc(window=2, executor=executor, segments="sentence")), at)
    begin = torch.tensor([b for one in BEGIN for b in [0] * hubs + one], dtype=torch.bool)
    x.at.tags["sentence"] = begin
    segments = [(torch.tensor(one, dtype=torch.int64).cumsum(0) - 1).tolist() for one in BEGIN]
    expected = four_pieces(module, x, hubs, 2, segments)
    close(apply(module, x, at), expected)
    ctx = Context()
    ctx.capture(at.path)
    module(x, {}, ctx)
    w = ctx.captures[at.path]
    assert w is not None and (w[0, :, 0, hubs + 3 :] == 0).all() and (w[2, :, 0, hubs : hubs + 1] == 0).all()
    close(w.sum(-1)[0], torch.ones(2, w.shape[2], dtype=w.dtype).masked_fill(w.sum(-1)[0] == 0, 0))


def test_segments_in_a_model():
    texts, m = tokens((7, 3)), model(Etc(window=1, segments="sentence"))
    begins = [torch.tensor([1, 0, 0, 1, 0, 1, 0]) > 0, torch.tensor([0, 1, 0]) > 0]
    alone = [m(t[None], marks={"sentence": b[None]}).hidden[0] for t, b in zip(texts, begins)]
    ids, mask = padded(texts, "left")
    marks = torch.zeros_like(mask)
    for row, seen, b in zip(marks, mask, begins):
        row[seen] = b
    for h, seen, one in zip(m(ids, mask=mask, marks={"sentence": marks}).hidden, mask, alone):
        close(h[seen], one)
    other = m(texts[0][None], marks={"sentence": ~begins[0][None]}).hidden[0]
    assert (other - alone[0]).abs().max() > 1e-6
    with pytest.raises(ConfigError, match=r"layers\.0\.mixer: each hub reads one segment here, .* marked 'sentence'"):
        m(texts[0][None])


def test_refusals():
    for spec, name in ((Star(), "star"), (Etc(), "etc")):
        with pytest.raises(Refused, match=rf"layers\.1\.mixer: {name} needs hubs, .*: set nodes=\{{hubs: \{{count: 1"):
            spec.check(site())
        with pytest.raises(Refused, match=f"{name} cannot be causal: its hubs read all rows"):
            spec.check(site(True))
        with pytest.raises(Refused, match=f"{name} is a pattern over one sequence's own order"):
            spec.check(site(False, True))
        lonely = jorip.Encoder(**SIZES, layer=jorip.PreNorm(mixer=jorip.MultiHead(mechanism=spec)))
        with pytest.raises(Refused, match=r"set nodes=\{hubs"):
            lonely.build(device="meta")


class Some(torch.nn.ModuleList):
    """A few layers of a stack, as nodes run them."""

    def forward(self, x, ctx, memory=None):
        carry = {}
        for layer in self:
            x, carry = layer(x, carry, ctx)
        return [x]


@pytest.mark.parametrize("mechanism", [Star(), Etc(window=1)])
def test_any_two_rows_are_two_layers_apart(mechanism):
    """One hop to the hub, one back: in the second layer every row depends on every row."""
    m, at = model(mechanism, hubs=1), Layout.of(torch.tensor([9]))
    m.nodes.mean = False  # which tells the hub of every row before the first layer
    for layers, everything in ((1, False), (2, True)):
        some = Some(m.layers[:layers])
        after = lambda x, some=some: m.nodes(some, Rows(x, at), Context())[-1].x  # noqa: E731
        jacobian = torch.autograd.functional.jacobian(after, rows((9,)).x)
        assert bool((jacobian != 0).any(3).any(1).all()) == everything
    assert mechanism.cost(Hubs().inside(site()), Shape(1, 10)).path == 2
