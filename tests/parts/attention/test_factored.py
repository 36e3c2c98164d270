"""Sparse Transformer, Image Transformer and axial attention against masks written down as their papers say."""

import pytest
import torch

import jorip
from jorip.blocks.layers import Cycle
from jorip.blocks.pre_norm import PreNorm
from jorip.core.errors import Refused, SpecError
from jorip.core.layout import Layout, Rows
from jorip.parts.attention.full import Full
from jorip.parts.attention.sparse.axial import Axial
from jorip.parts.attention.sparse.image_transformer import ImageTransformer
from jorip.parts.attention.sparse.sparse_transformer import SparseTransformer
from jorip.parts.mixer.multi_head import MultiHead
from tests.contracts.zoo import apply, build, close, context, rows, site

N = 23


def shown(spec, causal: bool, n: int = N, heads: int = 2) -> torch.Tensor:
    """(heads, n, n) bool: which weights are not zero."""
    at = site(causal, max_len=None, n_heads=heads, n_kv_heads=heads)
    where, q = Layout.of(torch.tensor([n])), torch.zeros(1, heads, n, 4, dtype=torch.float64)
    return spec.build(at).weights({"q": q, "k": q, "v": q}, where, where, context(at))[0] != 0


def strided(n: int, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Section 4.3: A1(i) = {max(0, i-l) .. i}, A2(i) = {j : (i-j) mod l = 0, j <= i}."""
    one, two = torch.zeros(2, n, n, dtype=torch.bool)
    for i in range(n):
        one[i, max(0, i - stride) : i + 1] = True
        two[i, [j for j in range(i + 1) if (i - j) % stride == 0]] = True
    return one, two


def fixed(n: int, stride: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A1(i) = {j : floor(j/l) = floor(i/l)}, A2(i) = {j : j mod l in {l-c .. l-1}}, j <= i."""
    one, two = torch.zeros(2, n, n, dtype=torch.bool)
    for i in range(n):
        one[i, [j for j in range(i + 1) if j // stride == i // stride]] = True
        two[i, [j for j in range(i + 1) if j % stride in range(stride - count, stride)]] = True
    return one, two


@pytest.mark.parametrize("stride", [1, 4, 5, 40])
def test_strided_factors(stride):
    one, two = strided(N, stride)
    spec = SparseTransformer(factors="strided", stride=stride)
    assert torch.equal(shown(spec, True), (one | two).expand(2, N, N))
    split = shown(spec.with_fields(heads="split"), True, heads=4)
    assert torch.equal(split, torch.stack([one, one, two, two]))
    both = shown(spec, False)[0]
    assert torch.equal(both, both.T) and torch.equal(both.tril(), one | two), "the same to the other side"


@pytest.mark.parametrize("stride, count", [(1, 1), (4, 1), (5, 2), (5, 5), (40, 3)])
def test_fixed_factors(stride, count):
    one, two = fixed(N, stride, count)
    spec = SparseTransformer(stride=stride, count=count)
    assert torch.equal(shown(spec, True), (one | two).expand(2, N, N))
    assert torch.equal(shown(spec.with_fields(heads="split"), True), torch.stack([one, two]))


def test_two_steps_reach_everything_before():
    for spec in (SparseTransformer(stride=5, count=1), SparseTransformer(stride=5, factors="strided")):
        step = shown(spec, True, 25)[0].float()
        reached = step @ step > 0
        if spec.factors == "strided":
            assert torch.equal(reached, torch.ones(25, 25).tril().bool())
        else:  # what a block's last rows have read; a row sees those of whole blocks, and its own block
            assert reached.equal(torch.ones(25, 25).tril().bool())


def test_blind_heads_give_zeros():
    """Before the first of the fixed places there is nothing to see for heads that read only them."""
    at, x = site(True, max_len=None), rows((9,))
    module = build(MultiHead(mechanism=SparseTransformer(stride=5, count=1, heads="split"), out_bias=False), at)
    module.out.weight.data[:, :4] = 0  # only what the second head reads
    y = apply(module, x, at)
    assert not y[:4].any() and y[4:].any(1).all()


def test_count_is_checked_where_it_is_used():
    with pytest.raises(SpecError, match=r"count must be at most stride, found 9 and 8"):
        SparseTransformer(stride=8, count=9)
    assert SparseTransformer(stride=8, count=9, factors="strided").stride == 8
    with pytest.raises(Refused, match=r"2 patterns are shared out among 3 heads"):
        SparseTransformer(heads="split").build(site(n_heads=3, n_kv_heads=3))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("block, memory", [(5, 0), (4, 3), (3, 7), (1, 2), (40, 40)])
def test_image_blocks_in_one_dimension(block, memory, causal):
    """Section 3.3: the memory of a block is the block itself and so many rows before it."""
    want = torch.zeros(N, N, dtype=torch.bool)
    for first in range(0, N, block):
        last = min(first + block, N)
        want[first:last, max(0, first - memory) : last + (0 if causal else memory)] = True
    got = shown(ImageTransformer(block=block, memory=memory), causal)
    assert torch.equal(got, (want.tril() if causal else want).expand(2, N, N))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("block, memory", [((2, 2), (1, 1)), ((1, 5), (2, 0)), ((3, 2), (0, 2)), ((9, 9), (9, 9))])
def test_image_blocks_in_two_dimensions(block, memory, causal):
    """Pixel by pixel on the picture, which is then read line by line; the last line is not full."""
    width, (down, across), (above, aside) = 5, block, memory
    want = torch.zeros(N, N, dtype=torch.bool)
    for i in range(N):
        y, x = divmod(i, width)
        top, left = y // down * down, x // across * across
        for j in range(N):
            v, u = divmod(j, width)
            inside = top - above <= v < top + down + (0 if causal else above)
            want[i, j] = inside and left - aside <= u < left + across + aside
    got = shown(ImageTransformer(width=width, block=block, memory=memory), causal)
    assert torch.equal(got, (want.tril() if causal else want).expand(2, N, N))


def test_image_sizes_are_checked():
    for fields, why in [
        ({"width": 8}, r"block is \(lines, columns\), because width is set, found 256"),
        ({"block": (2, 2)}, r"block is a number of rows, found \(2, 2\)"),
        ({"width": 8, "block": [2, 2], "memory": 3}, r"memory is \(lines, columns\), because width is set, found 3"),
        ({"block": 0}, r"block must be at least 1, found 0"),
        ({"width": 8, "block": (2, 2), "memory": (-1, 0)}, r"memory must be at least 0, found \(-1, 0\)"),
    ]:
        with pytest.raises(SpecError, match=why):
            ImageTransformer(**fields)
    spec = ImageTransformer(width=8, block=(2, 4), memory=(1, 1))
    assert jorip.Encoder(vocab_size=9).layer.mixer.mechanism.parse(spec.to_dict()) == spec


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("executor", ["dense", "tiles"])
@pytest.mark.parametrize("height, width", [(5, 7), (1, 4), (6, 1)])
def test_axial_is_full_attention_over_the_folded_picture(height, width, executor, causal):
    """Lines as sequences, and columns as sequences."""
    at, x = site(causal, max_len=None), rows((height * width,) * 2)
    for axis in ("row", "column"):
        module = build(MultiHead(mechanism=Axial(width=width, axis=axis, executor=executor)), at)
        full = build(MultiHead(mechanism=Full()), at)
        full.load_state_dict(module.state_dict())
        grid = x.x.view(2, height, width, -1)
        grid = grid if axis == "row" else grid.transpose(1, 2)
        lines = Layout.of(torch.full((2 * grid.shape[1],), grid.shape[2]))
        want = apply(full, Rows(grid.reshape(-1, x.x.shape[1]), lines), at).view(grid.shape)
        want = want if axis == "row" else want.transpose(1, 2)
        close(apply(module, x, at), want.reshape(x.x.shape))


def test_both_axes_at_once():
    got = shown(Axial(width=5, axis="both"), False)[0]
    want = torch.tensor([[i // 5 == j // 5 or i % 5 == j % 5 for j in range(N)] for i in range(N)])
    assert torch.equal(got, want)


def test_layers_for_lines_and_columns_in_turn_connect_everything():
    line, column = (PreNorm(mixer=MultiHead(mechanism=Axial(width=4, axis=a))) for a in ("row", "column"))
    spec = jorip.Encoder(vocab_size=9, d_model=8, n_heads=2, n_layers=2, layer=Cycle(line, column), position="none")
    for layers, reached in ((1, 4), (2, 16)):
        m = spec.override({"n_layers": layers}).build(seed=0, dtype=torch.float64).eval()
        tokens = torch.arange(16)[None] % 9
        h = m(tokens).hidden
        moved = 0
        for j in range(16):
            other = tokens.clone()
            other[0, j] = (other[0, j] + 1) % 9
            moved += bool((m(other).hidden[0, 5] - h[0, 5]).abs().max() > 1e-12)
        assert moved == reached
