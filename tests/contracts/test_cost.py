"""What a part says it costs is what torch counts on the reference form, and what the survey's Table 1 says."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from jorip.architectures.base import Architecture
from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.blocks.post_norm import PostNorm
from jorip.blocks.pre_norm import PreNorm
from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.layout import Rows
from jorip.parts.feedforward.base import FeedForward
from jorip.parts.feedforward.dense import Dense
from jorip.parts.mixer.convolution import Convolution
from jorip.parts.mixer.fully_connected import FullyConnected
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.mixer.recurrent import Lstm, Rnn
from jorip.parts.norm.layer_norm import LayerNorm
from jorip.parts.readout.base import Readout
from jorip.parts.readout.classifier import Classifier
from jorip.parts.readout.tagger import Tagger
from tests.contracts.zoo import SITES, VOCAB, WIDTH, apply, build, members, mixers, rows, site


def fused(q_shape, k_shape, v_shape, *args, out_shape=None, **more) -> int:
    """Of torch's fused CPU kernel, which its counter does not know."""
    batch, heads, rows, dim = q_shape
    return 4 * batch * heads * rows * k_shape[2] * dim


FUSED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: fused}


def flops(run) -> int:
    counting = FlopCounterMode(display=False, custom_mapping=FUSED)
    with sdpa_kernel(SDPBackend.MATH), counting as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def same_length(n: int = 5, batch: int = 3, width: int = WIDTH) -> Rows:
    return rows((n,) * batch, width)


@pytest.mark.parametrize("spec, causal", SITES)
def test_mixer_flops_are_counted(spec, causal):
    """In float64 torch's recurrences take the plain path, which the counter sees."""
    at, x = site(causal), same_length()
    module = build(spec, at)
    assert flops(lambda: apply(module, x, at)) == spec.cost(at, Shape(3, 5)).flops


@pytest.mark.parametrize("heads, kv, dim", [(2, 2, 4), (4, 2, 2), (4, 1, 6)])
@pytest.mark.parametrize("spec", mixers(False, cross=True))
def test_cross_and_grouped_flops_are_counted(spec, heads, kv, dim):
    for cross in (False, True):
        at = site(False, cross, n_heads=heads, n_kv_heads=kv, head_dim=dim)
        module, x, memory = build(spec, at), same_length(), same_length(7, width=6)
        cost = spec.cost(at, Shape(3, 5, 7))
        assert flops(lambda: apply(module, x, at, memory if cross else None)) == cost.flops  # noqa: B023


@pytest.mark.parametrize("spec", members(FeedForward))
def test_feed_forward_flops_are_counted(spec):
    module, x = build(spec, site()), same_length()
    assert flops(lambda: module(x, Context())) == spec.cost(site(), Shape(3, 5)).flops


@pytest.mark.parametrize("spec", members(Readout))
def test_readout_flops_are_counted(spec):
    for kind in (Encoder, Decoder):
        arch = kind(vocab_size=VOCAB, d_model=WIDTH, n_layers=1, n_heads=2, readout=spec)
        model = arch.build(seed=0).eval()
        assert flops(lambda: model(torch.zeros(3, 5, dtype=torch.int64))) == arch.cost(Shape(3, 5)).total.flops  # noqa: B023


def test_whole_models():
    side = {"vocab_size": VOCAB, "d_model": WIDTH, "n_layers": 2, "n_heads": 2}
    spec = EncoderDecoder(encoder=Encoder(**side), decoder=Decoder(**side), share="embeddings")
    model, tree = spec.build(seed=0).eval(), spec.cost(Shape(3, 5, 4))
    ids = torch.zeros(3, 5, dtype=torch.int64)
    assert flops(lambda: model(ids[:, :4], ids)) == tree.total.flops
    assert tree.total_parameters == sum(p.numel() for p in model.parameters())
    assert tree.parameters["encoder.embedding"] == VOCAB * WIDTH  # once, though three use it
    assert tree.parameters["decoder.layers.1.cross"] == 4 * WIDTH**2 + 4 * WIDTH
    state = model.new_state(3, capacity=5)
    with torch.no_grad():
        model(ids[:, :4], ids, state=state)
    lengths = sum(getattr(p, "lengths", getattr(p, "source", torch.zeros(0))).nbytes for p in state.parts.values())
    assert state.nbytes - lengths == 4 * tree.total.state
    shape = Shape(1, 4)
    assert isinstance(spec, Architecture) and spec.cost(shape).shape == shape


@pytest.mark.parametrize("d", [16, 64])
@pytest.mark.parametrize("block", [PreNorm, PostNorm])
def test_survey_table_1_parameters(d, block):
    for bias in (False, True):
        spec = Encoder(
            vocab_size=4,
            d_model=d,
            n_layers=1,
            n_heads=4,
            norm=None,
            layer=block(mixer=MultiHead(bias=bias), feed_forward=Dense(bias=bias)),
        )
        have = spec.cost(Shape(1, 8)).parameters
        assert have["layers.0.mixer"] == 4 * d**2 + 4 * d * bias
        assert have["layers.0.feed_forward"] == 8 * d**2 + 5 * d * bias
        assert sum(n for p, n in have.items() if p.startswith("layers.0.norms")) == 4 * d
        layer = sum(n for p, n in have.items() if p.startswith("layers."))
        assert layer == 12 * d**2 + (13 if bias else 4) * d


@pytest.mark.parametrize("d, t", [(16, 8), (64, 100), (512, 1024)])
def test_survey_table_1_operations(d, t):
    at = site(d_model=d, head_dim=d // 2)
    attention, ffn = MultiHead().cost(at, Shape(1, t)), Dense().cost(at, Shape(1, t))
    assert (attention.linear, attention.mixing, ffn.macs) == (4 * t * d**2, 2 * t**2 * d, 8 * t * d**2)


def test_crossovers():
    """Attention overtakes the feed-forward at T = 2D; its score part alone at T = 4D."""
    d = 64
    at = site(d_model=d, head_dim=d // 2)
    attention = lambda t: MultiHead().cost(at, Shape(1, t))  # noqa: E731
    ffn = lambda t: Dense().cost(at, Shape(1, t))  # noqa: E731
    assert attention(2 * d).macs == ffn(2 * d).macs
    assert attention(2 * d - 1).macs < ffn(2 * d - 1).macs and attention(2 * d + 1).macs > ffn(2 * d + 1).macs
    assert attention(4 * d).mixing == ffn(4 * d).macs
    assert attention(4 * d - 1).mixing < ffn(4 * d - 1).macs and attention(4 * d + 1).mixing > ffn(4 * d + 1).macs


@pytest.mark.parametrize("t", [2, 7, 16])
def test_survey_table_2(t):
    """Closed forms of the four layer types: MACs, sequential operations, path length."""
    d, shape = WIDTH, Shape(1, t)
    one, two = site(True), site(False)
    facts = lambda c: (c.macs, c.sequential, c.path)  # noqa: E731
    assert facts(Rnn().cost(one, shape)) == (2 * t * d**2, t, t)
    assert facts(Rnn().cost(two, shape)) == (2 * t * (d // 2) * (d + d // 2), t, t)
    assert facts(Lstm().cost(one, shape)) == (8 * t * d**2, t, t)
    assert facts(Lstm(d_hidden=12).cost(one, shape)) == (4 * t * 12 * (d + 12) + t * 12 * d, t, t)
    assert facts(Convolution(kernel=3).cost(one, shape))[:2] == (3 * t * d**2, 1)
    assert facts(FullyConnected().cost(one, shape)) == (t**2 * d, 1, 1)
    assert facts(MultiHead().cost(one, shape))[1:] == (1, 1)
    parameters = lambda spec, at: sum(p.numel() for p in spec.build(at).parameters())  # noqa: E731
    assert parameters(Rnn(), one) == 2 * d**2 + 2 * d and parameters(Lstm(), one) == 8 * d**2 + 8 * d
    assert parameters(Convolution(kernel=5), one) == 5 * d**2 + d
    assert parameters(FullyConnected(groups=2), one) == 2 * (16**2 + 16)


def test_fixed_dilation_spans_further():
    assert Convolution(dilation=2).layers_to_span(9, causal=True) == 2
    assert Convolution(dilation=2).layers_to_span(9, causal=False) == 4
    assert Convolution(kernel=2).layers_to_span(1, causal=True) == 0


def test_costs_add():
    """Counts do; of what is alive at a worst moment the larger one is."""
    a = Cost(linear=1, mixing=2, activations=3, state=4, sequential=5, path=6, work=7, back=9)
    b = Cost(linear=1, mixing=2, activations=3, state=4, sequential=5, path=6)
    assert a + b == Cost(2, 4, 6, 8, 10, 12, work=7, back=9) and (a + b).macs == 6 and a.flops == 6
    assert b.working == b.going_back == 3  # what says nothing is as large as what it keeps
    assert Cost(activations=8, wide=2).kept(4) == 32 and Cost(activations=8, wide=2).kept(2) == 20
    with pytest.raises(TypeError):
        FeedForward().cost(site(), Shape(1, 1))
    assert Classifier().kind == "classifier" and Tagger().kind == "tagger" and LayerNorm().kind == "layer_norm"
