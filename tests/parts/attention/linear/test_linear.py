"""Every pair of a feature map and a rule is its paper's recurrence, whatever way it runs."""

import pytest
import torch

import jorip
from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.blocks.pre_norm import PreNorm
from jorip.core.context import Context
from jorip.core.errors import ConfigError, Refused
from jorip.core.layout import Rows
from jorip.core.mask import Causal, Prefix, Same
from jorip.parts.attention.base import Mechanism
from jorip.parts.attention.linear.linear import LinearAttention
from jorip.parts.attention.linear.rules.base import Aggregation
from jorip.parts.attention.linear.rules.gated import Gated
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.position.alibi import Alibi
from tests.contracts.zoo import VOCAB, build, close, rows, site, tokens
from tests.parts.attention.linear.cases import PAIRS, attend, context, definition, layer, one, projected, spec


@pytest.mark.parametrize("heads, kv", [(2, 2), (4, 2)])
@pytest.mark.parametrize("map, rule", PAIRS)
def test_every_pair_is_its_recurrence(map, rule, heads, kv):
    """In chunks, with gradients of the streams."""
    module, _ = layer(spec(map, rule), n_heads=heads, n_kv_heads=kv)
    found = []
    for run in (lambda s, x: module.mechanism(s, x.at, x.at, {}, context(True))[0][0],
                lambda s, x: definition(module, s, rule)):  # fmt: skip
        x = one(8)
        s = {n: v.detach().requires_grad_() for n, v in projected(module, x).items()}
        y = run(s, x)
        grads = torch.autograd.grad((y * torch.arange(y.numel()).view(y.shape).cos()).sum(), list(s.values()))
        found.append([y, *grads])
    for got, want in zip(*found):
        close(got, want, 1e-8)


@pytest.mark.parametrize("map, rule", PAIRS)
def test_every_pair_step_by_step(map, rule):
    """Ragged beginnings, then one row at a time, then pieces: each sequence as if alone. The state never grows."""
    module, at = layer(spec(map, rule))
    texts = [rows((n,), seed=n).x for n in (9, 6, 7)]
    state = module.new_state(3, 2, torch.float64)
    size, done, parts = state.nbytes, [0, 0, 0], [[], [], []]
    with torch.no_grad():
        for sizes in ((4, 0, 5), (1, 1, 1), (1, 1, 1), (0, 4, 0), (3, 0, 0)):
            pieces = [t[d : d + n] for t, d, n in zip(texts, done, sizes)]
            at_ = jorip.core.layout.Layout.of(torch.tensor(sizes), start=torch.tensor(done))
            y = module(Rows(torch.cat(pieces), at_), {}, context(True, state={at.path: state}))[0]
            for p, part in zip(parts, y.split(list(sizes))):
                p.append(part)
            done = [d + n for d, n in zip(done, sizes)]
            assert state.nbytes == size
        for p, t, n in zip(parts, texts, done):
            close(torch.cat(p), module(Rows(t[:n], one(n).at), {}, context(True))[0], 1e-8)


@pytest.mark.parametrize("map, rule", PAIRS)
def test_every_pair_where_everything_is_seen(map, rule):
    """The sum: every row as the last one. Others: the mean of both directions. Holes change nothing."""
    module, _ = layer(spec(map, rule), causal=False)
    y = attend(module, one(6), causal=False)
    s = projected(module, one(6))
    turned = {n: v.flip(2) for n, v in s.items()}
    if rule == "sum":
        last = {n: v.repeat(6, 1, 1, 1) for n, v in s.items()} | {"q": s["q"].transpose(0, 2)}
        want = torch.stack([definition(module, {n: v[i : i + 1] for n, v in last.items() if n != "q"}
                                       | {"q": s["q"][:, :, i : i + 1].expand_as(s["q"])}, rule)[:, -1]
                            for i in range(6)], 1)  # fmt: skip
    else:
        want = (definition(module, s, rule) + definition(module, turned, rule).flip(1)) / 2
    close(y, want, 1e-8)
    both = rows((6, 3), seed=0)
    close(module(both, {}, context(False))[0][:6], module(Rows(both.x[:6], one(6).at), {}, context(False))[0])


@pytest.mark.parametrize("rule", ["sum", "gated"])
@pytest.mark.parametrize("causal", [True, False])
def test_the_map_that_is_captured_is_the_one_that_was_used(rule, causal):
    module, at = layer(spec("elu", rule), causal)
    x, ctx = rows((6, 3)), context(causal)
    ctx.capture(at.path)
    y = module(x, {}, ctx)[0]
    w = ctx.captures[at.path]
    close(w.sum(-1)[0], torch.ones(2, 6, dtype=torch.float64))
    v = module.read(x, None, ctx, None)[0]["v"]
    close(module.out(x.at.rows((w @ v).transpose(1, 2).flatten(2))), y)


def test_what_has_no_map_captures_none_and_decoding_refuses():
    module, at = layer(spec("elu", "delta"))
    ctx = context(True)
    ctx.capture(at.path)
    module(one(3), {}, ctx)
    assert ctx.captures[at.path] is None
    ctx = context(True, state={at.path: module.new_state(1, 2, torch.float64)})
    ctx.capture(at.path)
    with pytest.raises(ConfigError, match=r"layers\.1\.mixer: linear attention has no map while it decodes: .*without"):
        module(one(3), {}, ctx)


def test_a_memory_is_folded_once():
    """Decoding with a memory: the first call folds it, later ones read (size, dim) numbers, for beams too."""
    at = site(False, cross=True)
    module = build(spec("elu", "sum"), at)
    memory, x = rows((4, 0, 3), width=6, seed=1), rows((2, 2, 2))
    state = module.new_state(3, 9, torch.float64)
    ctx = Context(state={at.path: state})
    want = module(x, {}, Context(), memory)[0]
    with torch.no_grad():
        close(module(x, {}, ctx, memory)[0], want)
        assert state.filled and state.matrix.shape == (3, 2, 4, 5)
        close(module(x, {}, ctx, memory)[0], want)
        saved = state.snapshot()
        state.select(torch.tensor([2, 2, 0]))
        some = Rows(x.x[[4, 5, 4, 5, 0, 1]], x.at)
        close(module(some, {}, ctx, memory)[0], want[[4, 5, 4, 5, 0, 1]])
        state.restore(saved)
        close(module(x, {}, ctx, memory)[0], want)


@pytest.mark.parametrize("rule", ["gated", "delta"])
def test_a_memory_has_no_order(rule):
    with pytest.raises(Refused, match=r"mixer: linear cannot read a memory with a rule for which order matters.*: sum"):
        spec("elu", rule).build(site(False, cross=True))


@pytest.mark.parametrize("kind", ["delta_net", "gated_delta_net", "retention", "gated_linear"])
def test_recurrences_cannot_read_a_memory(kind):
    with pytest.raises(Refused, match=f"{kind} cannot read a memory"):
        Mechanism.parse(kind).check(site(False, cross=True))


def test_masks_that_leave_out_pairs_are_refused():
    module, _ = layer(spec("elu", "sum"))
    x = rows((3, 2))
    for mask in (Causal() & Same("document"), Prefix(torch.tensor([1, 1]))):
        with pytest.raises(ConfigError, match="sums over all rows so far and cannot leave out pairs, found the mask"):
            module(x, {}, Context(mask=mask))
    whole, _ = layer(spec("elu", "sum"), causal=False)
    with pytest.raises(ConfigError, match=r"all rows of a sequence and cannot leave out pairs.*sequences of their own"):
        whole(x, {}, Context(mask=Same("document")))


def test_positions_that_add_to_scores_are_refused():
    layer_ = PreNorm(mixer=MultiHead(mechanism=LinearAttention()))
    m = Decoder(vocab_size=VOCAB, d_model=8, n_layers=1, n_heads=2, layer=layer_, position=Alibi()).build(seed=0)
    with pytest.raises(ConfigError, match="no scores of pairs that AlibiPosition could add to: use rotary, sinusoidal"):
        m(torch.zeros(1, 3, dtype=torch.int64))


@pytest.mark.parametrize("kind", [Encoder, Decoder])
def test_rotary_positions_turn_queries_and_keys(kind):
    sizes = {"vocab_size": VOCAB, "d_model": 8, "n_layers": 2, "n_heads": 2}
    layer_ = PreNorm(mixer=MultiHead(mechanism=LinearAttention(rule=Gated(), chunk=2)))
    m = kind(**sizes, layer=layer_, position="rotary").build(seed=0, dtype=torch.float64).eval()
    texts = tokens()
    packed = m(jorip.Packed.cat(texts)).hidden.split([len(t) for t in texts])
    for h, t in zip(packed, texts):
        close(h, m(t[None]).hidden[0])
    plain = kind(**sizes, layer=layer_, position="none").build(seed=0, dtype=torch.float64).eval()
    assert not torch.allclose(m(texts[0][None]).hidden, plain(texts[0][None]).hidden)


def test_writing_the_same_key_twice_overwrites():
    """With beta = 1 and keys that are one feature each, a memory of orthogonal keys holds the last value of each."""
    from jorip.ops.linear_attention import recurrent

    k = torch.eye(3, dtype=torch.float64)[[0, 1, 0, 2, 1]][None, None]
    v = torch.randn(1, 1, 5, 4, dtype=torch.float64)
    _, s = recurrent(k, k, v, beta=torch.ones(1, 1, 5, 1, dtype=torch.float64))
    close(s[0, 0], v[0, 0, [2, 4, 3]])


def test_specs():
    m = Mechanism.parse({"linear": {"features": "dpfp", "rule": "delta"}})
    assert isinstance(m, LinearAttention) and m.rule.kind == "delta" and m == Mechanism.parse(m.to_dict())
    assert jorip.Performer(features=128) == Mechanism.parse({"performer": {"features": 128}})
    with pytest.raises(ConfigError, match="there is no featuremap called 'elo'; did you mean 'elu'"):
        Mechanism.parse({"linear": {"features": "elo"}})
    for name, rule in Aggregation.members().items():
        assert rule.__doc__ and rule.examples() == (rule(),) and rule.kind == name
