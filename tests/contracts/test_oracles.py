"""Against implementations that are not ours: torch's attention and layers with copied weights, float64, 1e-10."""

import pytest
import torch
from torch import nn

from jorip.architectures.encoder import Encoder
from jorip.blocks.post_norm import PostNorm
from jorip.blocks.pre_norm import PreNorm
from jorip.core.context import Context
from jorip.core.layout import Layout, Rows
from jorip.core.mask import Causal, Everything
from jorip.core.site import Site
from jorip.parts.feedforward.dense import Dense
from jorip.parts.mixer.convolution import Convolution
from jorip.parts.mixer.fully_connected import FullyConnected
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.mixer.recurrent import Lstm, Rnn
from jorip.parts.norm.layer_norm import LayerNorm
from jorip.parts.norm.rms_norm import RmsNorm
from tests.contracts.zoo import LENGTHS, apply, build, close, rows, site

D, HEADS = 8, 2
MASK = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]


def jiggle(module: nn.Module) -> nn.Module:
    """No parameter stays at zero or one."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p) * 0.3)
    return module


def copy_attention(ours, theirs: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        for i, name in enumerate("qkv"):
            map = getattr(ours, name)
            map.weight.copy_(theirs.in_proj_weight[i * D : (i + 1) * D])
            map.bias.copy_(theirs.in_proj_bias[i * D : (i + 1) * D])
        ours.out.load_state_dict(theirs.out_proj.state_dict())


def their_mask(causal: bool):
    return nn.Transformer.generate_square_subsequent_mask(max(LENGTHS), dtype=torch.float64).isinf() if causal else None


@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_against_torch(causal):
    theirs = jiggle(nn.MultiheadAttention(D, HEADS, batch_first=True, dtype=torch.float64))
    ours = build(MultiHead(), site(causal))
    copy_attention(ours, theirs)
    x, at = rows(), site(causal)
    g = x.at.grid(x.x)
    want, maps = theirs(g, g, g, key_padding_mask=~MASK, attn_mask=their_mask(causal), average_attn_weights=False)
    close(apply(ours, x, at), x.at.rows(want))
    ctx = Context(mask=Causal() if causal else Everything())
    ctx.capture(at.path)
    ours(x, {}, ctx)
    close(ctx.captures[at.path].transpose(1, 2)[MASK], maps.transpose(1, 2)[MASK])


def test_cross_attention_against_torch():
    theirs = jiggle(nn.MultiheadAttention(D, HEADS, batch_first=True, dtype=torch.float64))
    at = site(False, True, d_memory=D)
    ours = build(MultiHead(), at)
    copy_attention(ours, theirs)
    x, memory = rows((3, 2, 4, 1)), rows(seed=1)
    g = memory.at.grid(memory.x)
    close(apply(ours, x, at, memory), x.at.rows(theirs(x.at.grid(x.x), g, g, key_padding_mask=~MASK)[0]))


def copy_layer(ours, theirs, names: dict[str, tuple[str, nn.Module]]) -> None:
    """names: ours -> (their norm, their attention)."""
    for name, (norm, attention) in names.items():
        ours.norms[name].load_state_dict(getattr(theirs, norm).state_dict())
        if attention is not None:
            copy_attention(getattr(ours, name), attention)
    ours.feed_forward.up.load_state_dict(theirs.linear1.state_dict())
    ours.feed_forward.down.load_state_dict(theirs.linear2.state_dict())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pre", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder_layer_against_torch(pre, causal, activation):
    theirs = nn.TransformerEncoderLayer(
        D, HEADS, 24, 0.0, activation, batch_first=True, norm_first=pre, dtype=torch.float64
    )
    jiggle(theirs)
    spec = (PreNorm if pre else PostNorm)(feed_forward=Dense(d_ff=24, activation=activation))
    ours = build(spec, site(causal, path="layers.0"))
    copy_layer(ours, theirs, {"mixer": ("norm1", theirs.self_attn), "feed_forward": ("norm2", None)})
    x = rows()
    want = theirs(x.at.grid(x.x), src_mask=their_mask(causal), src_key_padding_mask=~MASK)
    got = ours(x, {}, Context(mask=Causal() if causal else Everything()))[0]
    close(got.x, x.at.rows(want))


@pytest.mark.parametrize("pre", [True, False])
def test_decoder_layer_against_torch(pre):
    theirs = nn.TransformerDecoderLayer(D, HEADS, 24, 0.0, batch_first=True, norm_first=pre, dtype=torch.float64)
    jiggle(theirs)
    at = Site("layers.0", D, HEADS, HEADS, D // HEADS, causal=True, d_memory=D)
    ours = build((PreNorm if pre else PostNorm)(feed_forward=Dense(d_ff=24)), at)
    own, cross = theirs.self_attn, theirs.multihead_attn
    copy_layer(ours, theirs, {"mixer": ("norm1", own), "cross": ("norm2", cross), "feed_forward": ("norm3", None)})
    x, memory = rows(), rows((2, 4, 6, 1), seed=1)
    want = theirs(
        x.at.grid(x.x),
        memory.at.grid(memory.x),
        tgt_mask=their_mask(True),
        tgt_key_padding_mask=~MASK,
        memory_key_padding_mask=~memory.at.real,
    )
    close(ours(x, {}, Context(mask=Causal()), memory)[0].x, x.at.rows(want))


def test_sum_over_heads_identity():
    """Survey Eq 26: multi-head attention is a sum over heads, each with its own slice of W^O."""
    at, x = site(), rows((6,))
    m = build(MultiHead(), at)
    whole = apply(m, x, at)
    parts = -m.out.bias * (HEADS - 1)  # every part below adds the bias once
    for h in range(HEADS):
        one = build(MultiHead(), at)
        one.load_state_dict(m.state_dict())
        with torch.no_grad():
            one.out.weight.view(D, HEADS, -1)[:, [i for i in range(HEADS) if i != h]] = 0
        parts = parts + apply(one, x, at)
    close(whole, parts)


@pytest.mark.parametrize("kv", [1, 2])
def test_grouped_queries_are_multi_head_with_repeated_keys(kv):
    few, all_heads = site(True, n_heads=4, n_kv_heads=kv, head_dim=3), site(True, n_heads=4, n_kv_heads=4, head_dim=3)
    grouped, full = build(MultiHead(), few), build(MultiHead(), all_heads)
    wide = {
        n: t.unflatten(0, (kv, 3)).repeat_interleave(4 // kv, 0).flatten(0, 1) if n[0] in "kv" else t
        for n, t in grouped.state_dict().items()
    }
    full.load_state_dict(wide)
    close(apply(grouped, rows(), few), apply(full, rows(), all_heads))


def test_many_rows_take_one_product():
    """From 64 rows on, the projections are made together: the same numbers."""
    at = site()
    m = build(MultiHead(), at)
    few, many = rows((30,)), rows((30, 40))
    close(apply(m, many, at)[:30], apply(m, Rows(many.x[:30], few.at), at))


@pytest.mark.parametrize("spec, cell", [(Rnn(), nn.RNN), (Lstm(), nn.LSTM)])
def test_bidirectional_against_torch_packed(spec, cell):
    theirs = cell(D, D // 2, batch_first=True, bidirectional=True, dtype=torch.float64)
    ours = build(spec, site())
    ours.ahead.load_state_dict({n: p for n, p in theirs.state_dict().items() if not n.endswith("reverse")})
    back = {n.removesuffix("_reverse"): p for n, p in theirs.state_dict().items() if n.endswith("reverse")}
    ours.back.load_state_dict(back)
    x = rows()
    packed = nn.utils.rnn.pack_padded_sequence(x.at.grid(x.x), x.at.lengths, batch_first=True, enforce_sorted=False)
    want = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]
    close(apply(ours, x, site()), x.at.rows(want))


@pytest.mark.parametrize("kernel, dilation", [(3, 1), (5, 2)])
@pytest.mark.parametrize("causal", [True, False])
def test_convolution_against_torch(kernel, dilation, causal):
    at = site(causal)
    ours = build(Convolution(kernel=kernel, dilation=dilation), at)
    weight = ours.taps.weight.view(D, kernel, D).transpose(1, 2)  # torch: (out, in, taps)
    x, reach = rows(), (kernel - 1) * dilation
    got = apply(ours, x, at).split(LENGTHS)
    for one, y in zip(x.x.split(LENGTHS), got):
        pad = (reach, 0) if causal else (reach // 2, reach // 2)
        line = nn.functional.pad(one.T[None], pad)
        close(y, nn.functional.conv1d(line, weight, ours.taps.bias, dilation=dilation)[0].T)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("causal", [True, False])
def test_fully_connected_against_its_formula(groups, causal):
    at = site(causal)
    m, x = build(FullyConnected(groups=groups), at), rows()
    for one, y in zip(x.x.split(LENGTHS), apply(m, x, at).split(LENGTHS)):
        for channel in range(D):
            g = channel * groups // D
            for i in range(len(one)):
                js = range(i + 1) if causal else range(len(one))
                want = m.bias[g, i] + sum(m.weight[g, i, j] * one[j, channel] for j in js)
                close(y[i, channel], want)


def test_norms_against_torch():
    x = rows().x
    for ours, theirs in (
        (build(LayerNorm(), site()), nn.LayerNorm(D, dtype=torch.float64)),
        (build(RmsNorm(), site()), nn.RMSNorm(D, eps=1e-6, dtype=torch.float64)),
    ):
        jiggle(theirs)
        ours.load_state_dict(theirs.state_dict())
        close(ours(x), theirs(x))


def test_whole_encoder_against_torch():
    """Post-norm as in the paper, with embeddings and sinusoids in front."""
    layer = nn.TransformerEncoderLayer(D, HEADS, 4 * D, 0.0, batch_first=True, dtype=torch.float64)
    theirs = jiggle(nn.TransformerEncoder(layer, 3, enable_nested_tensor=False))
    spec = Encoder(vocab_size=11, d_model=D, n_layers=3, n_heads=HEADS, layer=PostNorm(), norm=None)
    ours = spec.build(dtype=torch.float64, seed=0)
    for mine, other in zip(ours.layers, theirs.layers):
        copy_layer(mine, other, {"mixer": ("norm1", other.self_attn), "feed_forward": ("norm2", None)})
    ids = torch.randint(0, 11, MASK.shape)
    at = Layout.pack(MASK)
    embedded = at.grid(ours.position.embed(ours.embedding.tokens(at.take(ids)), at))
    want = theirs(embedded, src_key_padding_mask=~MASK)
    close(ours(ids, mask=MASK).hidden[MASK], want[MASK])
