"""External nodes: nobody outside the layers sees them, positions are as without them, who cannot read them says so."""

import pytest
import torch

import jorip
from jorip.core.context import Context
from jorip.core.cost import Shape
from jorip.core.errors import Refused
from jorip.core.init import Xavier, initialise
from jorip.core.layout import Layout, Rows
from jorip.core.random import Key
from jorip.parts.nodes.base import Nodes
from jorip.parts.nodes.hubs import Hubs
from jorip.parts.nodes.spans import SpanNodes
from tests.contracts.zoo import LENGTHS, close, members, packed, padded, rows, site, tokens

SIZES = {"vocab_size": 13, "d_model": 8, "n_layers": 2, "n_heads": 2, "max_len": 16}
TEXTS = tokens()
ANY = members(Nodes)


def encoder(nodes, **more):
    return jorip.Encoder(**SIZES, nodes=nodes, **more).build(seed=0, dtype=torch.float64).eval()


def built(spec: Nodes, causal: bool = False):
    module = spec.build(site(causal)).double()
    initialise(module, Xavier(), 2, seed=0)
    return module


@pytest.mark.parametrize("spec", ANY)
@pytest.mark.parametrize("lengths", [LENGTHS, (3, 3), (0, 4, 0), (0, 0), (1,), ()])
def test_layouts(spec, lengths):
    x, module = rows(lengths), built(spec)
    x = Rows(x.x, Layout.of(torch.tensor(lengths, dtype=torch.int64)))
    x.at.tags["odd"] = x.at.order % 2 == 1
    positions = x.at.order + 7
    at = Layout.of(x.at.lengths, x.at.uid + 5, None, positions)
    at.tags.update(x.at.tags)
    more, own = module.layout(at)
    filled = module.fill(Rows(x.x, at), more, own)
    assert more.lengths.tolist() == [spec.rows(n, False) for n in lengths]
    assert filled.shape == (int(more.lengths.sum()), 8) and torch.equal(filled[own], x.x)
    assert torch.equal(more.positions[own], positions) and torch.equal(more.uid, at.uid)
    assert torch.equal(more.sample[own], at.sample) and torch.equal(more.tags["odd"][own], at.tags["odd"])
    assert int(more.tags["odd"].sum()) == int(at.tags["odd"].sum())
    assert torch.equal(module.places(at.order), more.order[own])
    stranger = torch.ones(len(more.order), dtype=torch.bool)
    stranger[own] = False
    grid = module.strangers(more).expand(more.batch, more.longest)
    assert torch.equal(more.rows(grid.contiguous()), stranger)


def test_causal_layouts_go_on_where_they_stopped():
    module = built(SpanNodes(), True)
    whole, _ = module.layout(Layout.of(torch.tensor([13])))
    places, positions, done = [], [], 0
    for n in (1, 2, 1, 4, 0, 5):
        start = None if not done else torch.tensor([done])
        at, mine = module.layout(Layout.of(torch.tensor([n]), None, start))
        assert at.start is None or at.start.tolist() == [len(places)]
        assert torch.equal(at.order[mine], module.places(torch.arange(done, done + n)))
        places, positions, done = places + at.order.tolist(), positions + at.positions.tolist(), done + n
    assert places == whole.order.tolist() and positions == whole.positions.tolist()
    assert SpanNodes().rows(13, True) == len(places) and SpanNodes().rows(13, False) == 13 + 7 + 4 + 2 + 1


def weight(module) -> torch.Tensor:
    return module.weight.detach()


def test_hubs_start_as_said():
    x = rows((3, 0, 2))
    for spec in (Hubs(count=2), Hubs(count=2, start="mean")):
        module = built(spec)
        at, own = module.layout(x.at)
        y = module.fill(x, at, own)
        means = [x.x[:3].mean(0), torch.zeros(8).double(), x.x[3:].mean(0)]
        for hubs, mean in zip((y[:2], y[5:7], y[7:9]), means):
            close(hubs, weight(module) + (mean if spec.start == "mean" else 0))
    module = built(Hubs(count=500))
    assert abs(float(weight(module).std()) - 8**-0.5) < 0.02  # as other embeddings


@pytest.mark.parametrize("spec", ANY)
def test_outputs_are_of_the_ordinary_rows(spec):
    """Full attention reads whatever is there; shapes, padding, packing and maps are as without nodes."""
    for readout in ("tagger", {"classifier": {"pool": "mean"}}, {"classifier": {"pool": "first"}}):
        m = encoder(spec, readout=readout)
        path = "layers.1.mixer"
        alone = [m(t[None], capture=(path,)) for t in TEXTS]
        for where in ("left", "right", "inside"):
            ids, mask = padded(TEXTS, where)
            out = m(ids, mask=mask, capture=(path,))
            assert out.hidden.shape == (*ids.shape, 8) and (out.hidden[~mask] == 0).all()
            assert out.captures[path].shape == (4, 2, 7, 7)
            for i, one in enumerate(alone):
                n = len(TEXTS[i])
                close(out.hidden[i][mask[i]], one.hidden[0])
                close(out.captures[path][i, :, :n, :n], one.captures[path][0])
                assert (out.captures[path][i, :, :, n:] == 0).all()
                close(out.logits[i] if out.logits.dim() == 2 else out.logits[i][mask[i]], one.logits[0])
        targets = torch.zeros(4, dtype=torch.int64) if readout != "tagger" else torch.zeros(16, dtype=torch.int64)
        loss, count = m(packed(TEXTS), targets=targets).loss
        assert loss.isfinite() and int(count) == len(targets)


def test_maps_without_rows():
    m = encoder(Hubs(count=2))
    out = m(packed([TEXTS[0][:0]]), capture=("layers.0.mixer",))
    assert out.captures["layers.0.mixer"].shape == (1, 2, 0, 0) and out.hidden.shape == (0, 8)
    out = encoder(SpanNodes())(packed([TEXTS[0][:0]]), capture=("layers.0.mixer",))
    assert out.captures["layers.0.mixer"].shape == (1, 2, 0, 0)


@pytest.mark.parametrize("position", ["rotary", "relative_bias", "alibi", "sinusoidal", "learned"])
def test_rows_keep_their_positions(position):
    """Hubs whose keys nobody weighs and whose values are zero change nothing."""
    plain, m = encoder(None, position=position), encoder(Hubs(count=3), position=position)
    m.load_state_dict(plain.state_dict(), strict=False)
    maps = [x(packed(TEXTS), capture=("layers.0.mixer",)).captures["layers.0.mixer"] for x in (plain, m)]
    ratio = maps[1] / maps[1].sum(-1, keepdim=True)  # without the weight that hubs got
    close(torch.nan_to_num(ratio), torch.nan_to_num(maps[0] / maps[0].sum(-1, keepdim=True)))


def test_biases_of_scores_are_between_rows():
    m = encoder(Hubs(count=2), position="alibi")
    at, _ = m.nodes.layout(Layout.of(torch.tensor([4, 2])))
    ctx = Context(position=m.position)
    from jorip.parts.nodes.base import Beside

    beside = Beside(m.position, m.nodes)
    assert beside.slopes == m.position.slopes
    bias = beside.bias(at, at, ctx)
    assert bias is not None
    close(bias[:, :, 2:, 2:], m.position.bias(Layout.of(torch.tensor([4])), Layout.of(torch.tensor([4])), ctx))
    assert (bias[:, :, :2] == 0).all() and (bias[..., :2] == 0).all()
    assert Beside(encoder(None).position, m.nodes).bias(at, at, ctx) is None


@pytest.mark.parametrize("spec", ANY)
def test_dropout_does_not_see_padding(spec):
    m = encoder(spec, layer=jorip.PreNorm(dropout=0.3)).train()
    ids, mask = padded(TEXTS, "left")
    close(m(ids, mask=mask, key=Key(1, 2)).hidden[mask], m(packed(TEXTS), key=Key(1, 2)).hidden)
    assert (m(packed(TEXTS), key=Key(1, 3)).hidden - m(packed(TEXTS), key=Key(1, 2)).hidden).abs().max() > 1e-3


@pytest.mark.parametrize("spec", ANY)
def test_saving(spec, tmp_path):
    m = jorip.Encoder(**SIZES, nodes=spec).build(seed=0).eval()
    jorip.save(m, tmp_path / "model")
    again = jorip.load(tmp_path / "model").eval()
    assert again.spec == m.spec and torch.equal(again(packed(TEXTS)).hidden, m(packed(TEXTS)).hidden)
    meta = m.spec.build(device="meta")
    assert {n: p.shape for n, p in meta.named_parameters()} == {n: p.shape for n, p in m.named_parameters()}


@pytest.mark.parametrize("spec", ANY)
def test_layers_count_nodes_as_rows(spec):
    n, plain, more = 5, jorip.Encoder(**SIZES), jorip.Encoder(**SIZES, nodes=spec)
    longer = plain.cost(Shape(3, spec.rows(n, False))).parts["layers.0.mixer"]
    tree = more.cost(Shape(3, n))
    assert (tree.parts["layers.0.mixer"].linear, tree.parts["layers.0.mixer"].mixing) == (longer.linear, longer.mixing)
    parameters = sum(p.numel() for p in more.build(device="meta").parameters())
    assert tree.total_parameters == parameters
    assert tree.parts["nodes"].activations == 3 * (spec.rows(n, False) - n) * 8
    assert tree.parameters.get("nodes", 0) == (spec.count * 8 if isinstance(spec, Hubs) else 0)


def test_windows_of_long_texts_have_nodes_too():
    spec = jorip.Hierarchical(**SIZES, nodes=Hubs(count=2), readout="classifier")
    out = spec.build(seed=0).eval()(packed(TEXTS), documents=torch.tensor([3, 1]))
    assert out.logits.shape == (2, 2) and spec.cost(Shape(2, 4)).parts["nodes"].activations == 2 * 2 * 8


@pytest.mark.parametrize(
    "mixer, name",
    [(jorip.Lstm(), "lstm"), (jorip.Convolution(), "convolution"), (jorip.FullyConnected(), "fully_connected"),
     (jorip.MultiHead(mechanism=jorip.Local(window=2)), "local"),
     (jorip.MultiHead(mechanism=jorip.BigBird()), "big_bird")],
)  # fmt: skip
def test_who_cannot_read_them_says_so(mixer, name):
    for nodes in ("hubs", "spans"):
        spec = jorip.Encoder(**SIZES, nodes=nodes, layer=jorip.PreNorm(mixer=mixer))
        with pytest.raises(Refused) as e:
            spec.build(device="meta")
        assert f"layers.0.mixer: {name} cannot read external nodes ({nodes}): it would take them for rows" in str(
            e.value
        )
        assert "set nodes=null, or use full attention" in str(e.value)


def test_hubs_are_refused_in_a_decoder():
    with pytest.raises(Refused, match="nodes: hubs cannot be in a causal stack: they read all rows"):
        jorip.Decoder(**SIZES, nodes="hubs").build(device="meta")


def test_global_rows_of_a_pattern_may_be_hubs():
    pattern = jorip.Band(left=1, right=1) | jorip.Global(first=2)
    m = encoder(Hubs(count=2), layer=jorip.PreNorm(mixer=jorip.MultiHead(mechanism=jorip.Sparse(pattern=pattern))))
    etc = encoder(Hubs(count=2), layer=jorip.PreNorm(mixer=jorip.MultiHead(mechanism=jorip.Etc(window=1))))
    close(m(packed(TEXTS)).hidden, etc(packed(TEXTS)).hidden)
