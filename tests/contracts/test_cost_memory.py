"""Memory that costs promise is what is measured: what autograd keeps, and the most that lives at once."""

from dataclasses import replace

import pytest
import torch

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.blocks.post_norm import PostNorm
from jorip.blocks.pre_norm import PreNorm
from jorip.core.cost import Cost, CostTree, Shape
from jorip.core.layout import Rows
from jorip.core.random import Key
from jorip.parts.attention.full import Full
from jorip.parts.attention.patterns.band import Band, Dilated
from jorip.parts.attention.patterns.blocks import Blocks
from jorip.parts.attention.patterns.random import Random
from jorip.parts.attention.sparse.big_bird import BigBird, seen_by_all
from jorip.parts.attention.sparse.local import Local
from jorip.parts.attention.sparse.longformer import Longformer
from jorip.parts.attention.sparse.patterned import _stairs_of, mask_of, program_of
from jorip.parts.attention.sparse.sliding_window import SlidingWindow
from jorip.parts.attention.sparse.sparse import Sparse
from jorip.parts.attention.sparse.sparse_transformer import SparseTransformer
from jorip.parts.embedding.ngrams import NGrams
from jorip.parts.embedding.tokens import Tokens
from jorip.parts.feedforward.base import FeedForward
from jorip.parts.feedforward.dense import Dense
from jorip.parts.feedforward.experts import Experts
from jorip.parts.feedforward.gated import Gated
from jorip.parts.feedforward.router import TopOne
from jorip.parts.mixer.convolution import Convolution
from jorip.parts.mixer.fully_connected import FullyConnected
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.mixer.recurrent import Lstm, Rnn
from jorip.parts.norm.base import Norm
from jorip.parts.norm.layer_norm import LayerNorm
from jorip.parts.norm.rms_norm import RmsNorm
from jorip.parts.position.alibi import Alibi
from jorip.parts.position.learned import Learned
from jorip.parts.position.relative_bias import RelativeBias
from jorip.parts.position.rotary import Rotary
from jorip.parts.readout.base import Readout
from jorip.parts.readout.classifier import Classifier
from jorip.parts.readout.language_model import LanguageModel
from jorip.parts.readout.masked_language_model import MaskedLanguageModel
from jorip.parts.readout.spans import Spans
from jorip.parts.readout.tagger import Tagger
from tests.contracts.memory import kept, peak
from tests.contracts.zoo import build, context, members, rows, site

SIZES = {"vocab_size": 300, "d_model": 64, "n_layers": 2, "n_heads": 4, "max_len": 256}
SHAPES = [(1, 48), (3, 40), (2, 160)]  # few rows, short attention, long attention
free = Experts(n_experts=3, router=TopOne(capacity_factor=None))


def near(said: float, measured: float, within: float = 0.15) -> None:
    assert abs(said / measured - 1) < within, f"{said:,.0f} was said, {measured:,.0f} measured"


def decoder(layer=None, **more) -> Decoder:
    return Decoder(**{**SIZES, "layer": layer or PreNorm(), **more})


def encoder(readout: Readout, layer=None, **more) -> Encoder:
    return Encoder(**{**SIZES, "layer": layer or PreNorm(), "readout": readout, **more})


def mixing(mixer, **more) -> PreNorm:
    return PreNorm(mixer=mixer, **more)


MODELS = {
    "decoder": decoder(),
    "more_layers": decoder(d_model=96, n_layers=4, n_heads=3, vocab_size=80),
    "large_vocabulary": decoder(vocab_size=3000, n_layers=1),
    "untied": decoder(readout=LanguageModel(tied=False, bias=True)),
    "dropout": decoder(PreNorm(dropout=0.1, feed_forward=Dense(dropout=0.1)), embedding=Tokens(dropout=0.1)),
    "attention_dropout": decoder(mixing(MultiHead(mechanism=Full(dropout=0.1)))),
    "llama": decoder(
        PreNorm(norm=RmsNorm(), feed_forward=Gated(), mixer=MultiHead(bias=False)),
        norm=RmsNorm(), position=Rotary(), n_kv_heads=2,
    ),
    "multi_query": decoder(n_kv_heads=1),
    "queries_normed": decoder(mixing(MultiHead(qk_norm=RmsNorm()))),
    "queries_normed_and_rotated": decoder(mixing(MultiHead(qk_norm=LayerNorm())), position=Rotary()),
    "alibi": decoder(position=Alibi()),
    "t5": decoder(position=RelativeBias()),
    "alibi_both_ways": encoder(Tagger(), position=Alibi()),
    "t5_both_ways": encoder(Tagger(), position=RelativeBias()),
    "gpt2": decoder(PreNorm(feed_forward=Dense(activation="gelu_tanh")), position=Learned()),
    "lstm": decoder(mixing(Lstm())),
    "lstm_both_ways": encoder(Tagger(), mixing(Lstm(d_hidden=48))),
    "rnn": decoder(mixing(Rnn())),
    "convolution": decoder(mixing(Convolution(kernel=5))),
    "fully_connected": decoder(mixing(FullyConnected(groups=2))),
    "experts": encoder(Tagger(dropout=0.1), PreNorm(feed_forward=free)),
    "post_norm": encoder(Tagger(), PostNorm(), norm=None),
    "bert": encoder(
        MaskedLanguageModel(), PostNorm(dropout=0.1, feed_forward=Dense(activation="gelu")),
        norm=None, position=Learned(), embedding=Tokens(norm=LayerNorm(), segments=2, dropout=0.1),
    ),
    "classifier": encoder(Classifier(pool="max", hidden=True)),
    "ngrams": encoder(Classifier(), embedding=NGrams(buckets=500)),
    "spans": encoder(Spans(feed_forward=Dense(), dropout=0.1)),
    "encoder_decoder": EncoderDecoder(encoder=Encoder(**SIZES), decoder=Decoder(**SIZES), share="embeddings"),
    "encoder_decoder_post": EncoderDecoder(
        encoder=Encoder(**SIZES, norm=None, layer=PostNorm(dropout=0.1)),
        decoder=Decoder(**{**SIZES, "n_layers": 3}, norm=None, layer=PostNorm(dropout=0.1)),
    ),
}  # fmt: skip


def wanted(spec, ids):
    """Targets, all asked."""
    readout = spec.decoder.readout if isinstance(spec, EncoderDecoder) else spec.readout
    if isinstance(readout, Classifier | Spans):
        return torch.zeros((len(ids), 2) if isinstance(readout, Spans) else len(ids), dtype=torch.int64)
    return ids * 0 if isinstance(readout, Tagger) else ids


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    """Peaks are compared with and without the parameters."""
    spec = MODELS[name]
    for batch, length in SHAPES:
        memory = length + 30 if isinstance(spec, EncoderDecoder) else 0
        model = spec.build(seed=0).train()
        ids = torch.randint(0, 80, (batch, length), generator=torch.Generator().manual_seed(0))
        inputs = (ids[:, :1].repeat(1, memory), ids) if memory else (ids,)
        said = spec.cost(Shape(batch, length, memory)).memory()

        def call(model=model, inputs=inputs, ids=ids):
            return model(*inputs, targets=wanted(spec, ids), key=Key(1, 1))

        def train(call=call):
            call().loss[0].backward()

        near(said.activations, kept(model, call)[0], 0.06)
        near(said.training - said.parameters, peak(train))
        model.eval()
        with torch.no_grad():
            near(said.inference - said.parameters, peak(lambda m=model, i=inputs: m(*i)))
        assert (
            said.parameters == said.gradients == said.optimizer // 2 == 4 * sum(p.numel() for p in model.parameters())
        )


@pytest.mark.parametrize("spec", members(FeedForward))
def test_feed_forwards(spec):
    """Experts that are full keep less."""
    at = site(d_model=32, head_dim=16)
    module, x = build(spec, at, torch.float32).train(), rows((50, 50), 32, dtype=torch.float32)
    x = Rows(x.x.requires_grad_(), x.at)
    said = spec.cost(at, Shape(2, 50)).kept(4)
    near(said, kept(module, lambda: module(x, context(at, key=Key(1, 0))))[0], 0.03)


@pytest.mark.parametrize("spec", members(Norm))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms(spec, dtype):
    at = site(d_model=32, head_dim=16)
    module, x = build(spec, at, dtype), rows((50, 50), 32).x.to(dtype).requires_grad_()
    said = spec.cost(at, Shape(2, 50)).kept(dtype.itemsize)
    near(said, kept(module, lambda: module(x))[0], 0.03 if dtype == torch.float32 else 0.2)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("spec", [Full(), Full(dropout=0.1)])
@pytest.mark.parametrize("kv", [4, 2])
def test_attention(spec, causal, kv):
    at = site(causal, d_model=32, head_dim=8, n_heads=4, n_kv_heads=kv)
    mixer = MultiHead(mechanism=spec)
    for shape in SHAPES:
        module, x = build(mixer, at, torch.float32).train(), rows((shape[1],) * shape[0], 32, dtype=torch.float32)
        x = Rows(x.x.requires_grad_(), x.at)
        said = mixer.cost(at, Shape(*shape)).kept(4)
        near(said, kept(module, lambda m=module, x=x: m(x, {}, context(at, key=Key(1, 0)))[0])[0], 0.1)


def test_bfloat16():
    """Half of everything, except what is always in float32 (norms' statistics, probabilities of the loss)."""
    spec = decoder()
    model, ids = spec.build(seed=0, dtype=torch.bfloat16).train(), torch.zeros(2, 160, dtype=torch.int64)
    said, full = (spec.cost(Shape(2, 160)).memory(w) for w in (2, 4))
    near(said.activations, kept(model, lambda: model(ids, targets=ids))[0], 0.06)
    assert full.activations // 2 < said.activations < 0.75 * full.activations
    assert said.state * 2 == full.state and said.parameters * 2 == full.parameters


@pytest.mark.parametrize("mixer", [MultiHead(), Lstm(), Rnn(), Convolution(), FullyConnected()])
def test_decoding_state(mixer):
    """To the byte, the lengths of the sequences (one int64 each) aside."""
    spec = decoder(mixing(mixer))
    model, ids = spec.build(seed=0).eval(), torch.zeros(3, 20, dtype=torch.int64)
    state = model.new_state(3, capacity=20)
    with torch.no_grad():
        model(ids, state=state)
    lengths = sum(getattr(p, "lengths", torch.zeros(0)).nbytes for p in state.parts.values())
    assert spec.cost(Shape(3, 20)).memory().state == state.nbytes - lengths


def test_peaks_of_a_made_up_tree():
    """Two parts: the first leaves rows behind and works more, the second's gradient is made first."""
    a, b = Cost(activations=10, work=30, back=5, stays=4), Cost(activations=6, work=20, back=9, shared=1)
    tree = CostTree({"a": a, "b": b}, total_parameters=7, gradients={"a": 3, "b": 4})
    assert tree.peak_inference(1) == max(30, 4 + 1 + 20)
    assert tree.peak_training(1) == max(30, 1 + 10 + 20, 1 + 16 + 9, 16 + 9, 10 + 4 + 5, 4 + 3)
    assert tree.memory(4).inference == 4 * (7 + 30)
    held = CostTree({"a": replace(a, held=50), "b": replace(b, held=50)}, total_parameters=7)
    assert held.memory(1).activations == tree.memory(1).activations + 50  # the same table
    assert held.peak_training(1) == 50 + max(16 + 9, 10 + 4 + 5)
    lasting = CostTree({"a": a, "b": replace(b, lasting=9, borrowed=7)}, total_parameters=7)
    assert lasting.memory(1).activations == tree.memory(1).activations + 7
    assert lasting.peak_training(1) == 9 + tree.peak_training(1)
    assert lasting.peak_inference(1) == 4 + 1 + 9 + 20
    tied = CostTree({"a": a, "b": b}, total_parameters=90, gradients={"b": 90}, again={"a": 90})
    assert tied.peak_training(1) == 3 * 90  # the second gradient of a shared table, and the sum


def check_first_calls(spec, batch: int, length: int, within: float, tables=(seen_by_all, mask_of, _stairs_of)) -> None:
    """Each call is a first one, which makes the tables that are kept for the next. Those of tiles are there already:
    all layers and calls share the few that there are."""
    model, ids = spec.build(seed=0), torch.zeros(batch, length, dtype=torch.int64)
    said = spec.cost(Shape(batch, length)).memory()

    def call(grad=True):
        for table in tables:
            table.cache_clear()
        with torch.set_grad_enabled(grad):
            return model(ids, targets=ids if grad else None)

    near(said.activations, kept(model, call)[0], within)
    near(said.training - said.parameters, peak(lambda: call().loss[0].backward()))
    near(said.inference - said.parameters, peak(lambda: call(False)))


@pytest.mark.parametrize("batch, length, kv", [(1, 512, 4), (3, 300, 4), (1, 400, 2), (1, 1000, 4)])
@pytest.mark.parametrize(
    "mechanism",
    [SparseTransformer(), SparseTransformer(executor="dense"), Local(window=256), Sparse(pattern=Blocks())],
    ids=lambda m: m.kind,
)
def test_a_few_hundred_rows_of_a_causal_stack(mechanism, batch, length, kv):
    """In stairs, or in tiles where they pay."""
    check_first_calls(decoder(mixing(MultiHead(mechanism=mechanism)), max_len=1000, n_kv_heads=kv), batch, length, 0.08)


@pytest.mark.parametrize("batch, length", [(1, 100), (1, 300), (2, 500), (1, 600)])
@pytest.mark.parametrize("position", [Alibi(), RelativeBias()], ids=lambda p: p.kind)
@pytest.mark.parametrize(
    "mechanism",
    [
        Full(),
        BigBird(block=16),
        BigBird(block=64),
        Longformer(window=16, first=3),
        Sparse(pattern=Band(left=64, right=64)),
        Sparse(pattern=Band(left=16, right=16) | Random(count=4)),
        SparseTransformer(factors="strided", stride=32),
    ],
    ids=lambda m: m.kind,
)
def test_beside_a_bias_of_positions(mechanism, position, batch, length):
    """All pairs, what is hidden in a mask, which up to 512 rows is kept as numbers."""
    layer = mixing(MultiHead(mechanism=mechanism))
    check_first_calls(encoder(Tagger(), layer, position=position, max_len=600), batch, length, 0.11)


@pytest.mark.parametrize("batch, length, kv", [(1, 512, 4), (1, 600, 4), (1, 2048, 4), (2, 1024, 4), (1, 1000, 2)])
@pytest.mark.parametrize(
    "mechanism",
    [
        Sparse(pattern=Band(left=64, right=64)),  # one set of tiles
        Sparse(pattern=Band(left=16, right=16) | Random(count=4)),  # and single edges
        SlidingWindow(window=64),  # and further keys
        SparseTransformer(factors="strided", stride=32),  # two orders of the rows
        BigBird(block=32),  # and rows that read everything
        BigBird(block=56),  # 600 rows: all pairs, and a bias
        BigBird(block=64),  # 512 rows: a bias that is kept
        Longformer(window=64, first=5),  # with projections of their own
        Longformer(window=16, first=4, dilation=(2,)),  # and rows in another order
        Sparse(pattern=Blocks(size=250) | Random(count=9)),  # 512 rows: a mask of each head, kept as numbers
        Sparse(pattern=Dilated(left=8, right=8, gap=2)),
    ],
    ids=lambda m: m.kind,
)
def test_tiles(mechanism, batch, length, kv):
    """Every score of one step or of many; the backward has the log-sum-exp only."""
    layer = mixing(MultiHead(mechanism=mechanism))
    check_first_calls(encoder(Tagger(), layer, max_len=2048, n_kv_heads=kv), batch, length, 0.04)


@pytest.mark.parametrize("batch, length", [(1, 512), (1, 2048), (2, 1024)])
@pytest.mark.parametrize("count", [4, 16, 50])
def test_single_edges(count, batch, length):
    """Every layer keeps its own, drawn once."""
    layer = mixing(MultiHead(mechanism=Sparse(pattern=Random(count=count))))
    check_first_calls(encoder(Tagger(), layer, max_len=2048), batch, length, 0.04, tables=(mask_of, program_of))


@pytest.mark.parametrize("batch, length, kv", [(1, 512, 4), (2, 1024, 4), (1, 1000, 2)])
@pytest.mark.parametrize("first", [5, 80])
@pytest.mark.parametrize("more", [{}, {"position": Rotary()}, {"qk_norm": RmsNorm()}], ids=lambda m: "".join(m))
def test_late_streams(more, first, batch, length, kv):
    """Folded into few queries, which needs plain projections, or made for all rows."""
    mixer = MultiHead(mechanism=Longformer(window=64, first=first), qk_norm=more.get("qk_norm"))
    position = {"position": more["position"]} if "position" in more else {}
    check_first_calls(encoder(Tagger(), mixing(mixer), max_len=2048, n_kv_heads=kv, **position), batch, length, 0.04)
