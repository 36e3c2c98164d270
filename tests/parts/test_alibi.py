"""ALiBi against its paper's slopes, MPT, Bloom and x-transformers, and through every kind of decoding state."""

import warnings

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import MptConfig
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.mpt.modeling_mpt import MptAttention, build_mpt_alibi_tensor

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.blocks.layers import Cycle
from jorip.blocks.pre_norm import PreNorm
from jorip.core.context import Context
from jorip.core.cost import Shape
from jorip.core.layout import Layout, Rows
from jorip.core.mask import Causal
from jorip.core.site import Site
from jorip.parts.attention.base import Mechanism
from jorip.parts.attention.sparse.local import Local
from jorip.parts.attention.sparse.rolling import Held
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.position.alibi import Alibi, slopes
from tests.contracts.zoo import close, padded, tokens

with warnings.catch_warnings():  # it calls torch.jit.script, which is deprecated
    warnings.simplefilter("ignore")
    from x_transformers.x_transformers import AlibiPositionalBias


def at_of(*lengths: int, start: list[int] | None = None) -> Layout:
    return Layout.of(torch.tensor(lengths), start=None if start is None else torch.tensor(start))


def site(heads: int, causal: bool = True, kv: int | None = None) -> Site:
    return Site("layers.0.mixer", d_model=4 * heads, n_heads=heads, n_kv_heads=kv or heads, head_dim=4, causal=causal)


def test_the_papers_slopes():
    assert slopes(8) == tuple(2.0**-h for h in range(1, 9))
    assert slopes(1) == (2.0**-8,) and slopes(2) == (2.0**-4, 2.0**-8)
    assert slopes(16)[:3] == (2**-0.5, 2**-1, 2**-1.5)
    assert slopes(12) == (*slopes(8), *slopes(16)[0:8:2])
    assert slopes(4, exponent=4.0) == (0.5, 0.25, 0.125, 0.0625)


@pytest.mark.parametrize("heads", range(1, 41))
def test_any_head_count_as_three_others_have_it(heads):
    q_at = at_of(7)
    ours = Alibi().build(site(heads)).bias(q_at, q_at, Context())
    assert ours.shape == (1, heads, 7, 7) and ours.dtype == torch.float32
    torch.testing.assert_close(ours, AlibiPositionalBias(heads)(7, 7)[None], rtol=1e-6, atol=0)
    ours = (ours.double() + torch.zeros(7, 7).masked_fill(~torch.ones(7, 7).tril().bool(), float("-inf"))).softmax(-1)
    for theirs in (
        build_mpt_alibi_tensor(heads, 7),
        build_alibi_tensor(torch.ones(1, 7, dtype=torch.bool), heads, torch.float32),
    ):  # theirs are functions of the key alone: the same after softmax only
        theirs = theirs.double().expand(heads, 7, 7).masked_fill(~torch.ones(7, 7).tril().bool(), float("-inf"))
        torch.testing.assert_close(ours[0], theirs.softmax(-1), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("heads", [4, 6])
def test_attention_and_its_map_as_in_mpt(heads):
    at, x_at = site(heads), at_of(5, 5)
    theirs = MptAttention(MptConfig(d_model=4 * heads, n_heads=heads)).double().eval()
    ours = MultiHead(bias=False).build(at).double()
    with torch.no_grad():
        for name, w in zip("qkv", theirs.Wqkv.weight.chunk(3)):
            ours.get_parameter(f"{name}.weight").copy_(w)
        ours.out.weight.copy_(theirs.out_proj.weight)
    x = torch.randn(10, 4 * heads, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    later = torch.ones(5, 5).triu(1).bool()
    want, weights = theirs(x_at.grid(x), build_mpt_alibi_tensor(heads, 5).double(), attention_mask=later)
    ctx = Context(mask=Causal(), position=Alibi().build(at))
    ctx.capture(at.path)
    got = ours(Rows(x, x_at), {}, ctx)[0]
    close(x_at.grid(got), want, 1e-6)  # their softmax is in float32
    close(ctx.captures[at.path], weights, 1e-6)


def test_both_ways_it_is_symmetric_and_holes_do_not_matter():
    at = at_of(5, 3)
    b = Alibi().build(site(3, causal=False)).bias(at, at, Context())
    assert torch.equal(b, b.transpose(-1, -2)) and (b.diagonal(dim1=-2, dim2=-1) == 0).all()
    assert b[0, 1].tolist()[0] == [0.0, *(-j * 2.0**-8 for j in range(1, 5))]
    m = Encoder(vocab_size=13, d_model=8, n_layers=2, n_heads=2, position="alibi").build(seed=0, dtype=torch.float64)
    texts = tokens()
    ids, mask = padded(texts, "left")
    for h, seen, t in zip(m(ids, mask=mask).hidden, mask, texts):
        close(h[seen], m(t[None]).hidden[0])


def test_states_say_where_their_keys_are():
    """New rows after others: queries at their own place; a ring's keys in any order."""
    module = Alibi().build(site(2))
    q_at = at_of(1, 1, start=[6, 2])
    got = module.bias(q_at, at_of(7, 3), Context())
    assert got[0, 0, 0].tolist() == [-(6 - j) * 2.0**-4 for j in range(7)]
    assert got[1, 1, 0].tolist()[:3] == [-2 * 2.0**-8, -(2.0**-8), 0.0]
    ring = Held.of(torch.tensor([[6, 4, 5], [0, 1, 2]]), ring=True)
    assert module.bias(q_at, ring, Context())[:, 0, 0].tolist() == [[0, -0.125, -0.0625], [-0.125, -0.0625, 0]]


@pytest.mark.parametrize("mechanism", ["full", "local", "both"])
def test_grouped_queries_step_by_step(mechanism):
    block = PreNorm(mixer=MultiHead())
    window = block.override({"mixer.mechanism": Local(window=3)})
    layer = {"full": block, "local": window, "both": Cycle(block, window)}[mechanism]
    sizes = {"vocab_size": 13, "d_model": 24, "n_layers": 2, "n_heads": 6, "n_kv_heads": 2}
    m = Decoder(**sizes, layer=layer, position=Alibi()).build(seed=0, dtype=torch.float64).eval()
    ids, mask = torch.arange(36).reshape(3, 12) % 13, torch.ones(3, 12, dtype=torch.bool)
    mask[1, :5] = False
    want, without = m(ids, mask=mask).hidden, Decoder(**sizes, layer=layer).build(seed=0, dtype=torch.float64)
    assert not torch.allclose(want, without(ids, mask=mask).hidden)
    for pieces in (1, [7, 1, 4]):
        state = m.new_state(3)
        with torch.no_grad():
            got = [m(i, mask=s, state=state).hidden for i, s in zip(ids.split(pieces, 1), mask.split(pieces, 1))]
        close(torch.cat(got, 1), want)


def test_bfloat16_and_no_parameters():
    m = Decoder(vocab_size=13, d_model=24, n_layers=1, n_heads=6, position="alibi").build(seed=0)
    assert "position" not in str(list(m.state_dict())) and "AlibiPosition(heads=6)" in repr(m)
    ids = torch.arange(600)[None] % 13
    want = m(ids).hidden
    assert ((m.bfloat16()(ids).hidden.float() - want).norm() / want.norm()) < 0.03


@pytest.mark.parametrize("mechanism", ["local", "big_bird", "sparse", "longformer"])
def test_a_sparse_pattern_with_a_bias_costs_what_it_computes(mechanism):
    """All pairs, and the model of costs says so."""
    sizes = {"vocab_size": 9, "d_model": 16, "n_layers": 1, "n_heads": 2, "max_len": 1024}
    spec = Encoder(**sizes, position=Alibi(), layer=PreNorm(mixer=MultiHead(mechanism=Mechanism.parse(mechanism))))
    ids = torch.zeros(1, 1024, dtype=torch.int64)
    model = spec.build(seed=0)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids)
    assert counter.get_total_flops() == pytest.approx(spec.cost(Shape(1, 1024)).total.flops, rel=0.01)
