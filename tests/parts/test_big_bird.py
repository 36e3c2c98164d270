"""BigBird: the paper's pattern against a mask made here, blocks against the definition, O(n) memory, refusals."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import jorip
from jorip.core.context import Context
from jorip.core.cost import Shape
from jorip.core.errors import ConfigError, Refused, SpecError
from jorip.core.layout import Layout
from jorip.core.mask import Same
from jorip.core.random import Key
from jorip.parts.attention.sparse import block_plan, hugging_face_plan
from jorip.parts.attention.sparse.block_plan import Pattern
from tests.contracts.test_cost import flops
from tests.contracts.zoo import apply, build, close, rows, site

SIZES = {"d_model": 8, "n_heads": 2, "head_dim": 4}


def paper_mask(n: int, block: int, window: int, globals_: int) -> torch.Tensor:
    """(n, n) bool: what the paper's figure says without the random part, row by row."""
    last = (n - 1) // block
    seen = torch.zeros(n, n, dtype=torch.bool)
    ends = {*range((globals_ + 1) // 2), *range(last + 1 - globals_ // 2, last + 1)}
    for i in range(n):
        for j in range(n):
            a, b = i // block, j // block
            seen[i, j] = abs(a - b) <= window // 2 or a in ends or b in ends
    return seen


def block_map(mechanism, lengths, heads=2):
    """(batch, heads, blocks, blocks): how much of each block's weights goes where, all scores equal."""
    at = site(n_heads=heads, n_kv_heads=heads)
    q = torch.zeros(len(lengths), heads, max(lengths), 4, dtype=torch.float64)
    where = Layout.of(torch.tensor(lengths))
    return mechanism.build(at).weights({"q": q, "k": q, "v": q}, where, where, Context())


@pytest.mark.parametrize("window, ends", [(3, 2), (1, 0), (5, 1), (3, 3)])
@pytest.mark.parametrize("n", [1, 4, 23, 45])
def test_window_and_ends_are_the_papers(n, window, ends):
    spec = jorip.BigBird(block=3, random=0, window=window, global_blocks=ends)
    want = paper_mask(n, 3, window, ends)
    assert torch.equal(block_map(spec, [n])[0, 0] > 0, want)
    close(block_map(spec, [n])[0, 1], want / want.sum(-1, keepdim=True).double())


@pytest.mark.parametrize("random", [1, 2, 3])
def test_random_blocks_are_new_distinct_and_fixed(random):
    n = 60
    spec, base = jorip.BigBird(block=3, random=random), paper_mask(n, 3, 3, 2)
    seen = block_map(spec, [n])[0] > 0
    more = (seen & ~base).view(2, 20, 3, 20, 3)
    assert torch.equal(seen & base, base.expand_as(seen))
    assert torch.equal(more.any(2).any(-1), more.all(2).all(-1)), "whole blocks"
    assert (more[:, 1:-1, 0, :, 0].sum(-1) == random).all()
    assert not torch.equal(more[0], more[1]), "heads draw for themselves"
    assert torch.equal(seen, block_map(spec, [n])[0] > 0)
    assert not torch.equal(seen, block_map(jorip.BigBird(block=3, random=random, seed=1), [n])[0] > 0)
    alone, beside = block_map(spec, [30])[0], block_map(spec, [30, n, 7])[0]
    close(alone, beside[:, :30, :30])


def test_random_blocks_are_uniform_and_run_out():
    n = torch.tensor([12, 7, 3, 0])
    plan = block_plan.plan(n, 12, 4000, Pattern(1, 1, 3), 2, seed=5)
    counts = plan.counts()
    assert (counts <= 1).all()
    row = counts[0, :, 4]  # sees 0, 3-5 and 11, so two of the seven others
    assert (row[:, [0, 3, 4, 5, 11]] == 1).all() and (row.sum(1) == 7).all()
    rate = row[:, [1, 2, 6, 7, 8, 9, 10]].mean(0)
    assert (rate - 2 / 7).abs().max() < 0.04
    assert (plan.keys[1, :, 1:6].ge(0).sum(-1) == 7 - (torch.tensor([1, 0, 0, 0, 1]))).all()
    assert plan.whole.tolist()[2] == [True, False, True] + [False] * 9 and not plan.whole[3].any()


CASES = [
    jorip.BigBird(block=2, random=1),
    jorip.BigBird(block=3, random=2, window=1, global_blocks=0),
    jorip.BigBird(block=1, random=3, window=5, global_blocks=3),
    jorip.BigBird(block=3, random=1, plan="huggingface"),
]


@pytest.mark.parametrize("spec", CASES)
@pytest.mark.parametrize("lengths", [(40,), (39, 2, 25, 0, 11)])
@pytest.mark.parametrize("training", [False, True])
def test_blocks_equal_the_definition(spec, lengths, training):
    """Values and gradients; a mask that hides nothing sends the same streams down the other road."""
    at = site(n_heads=4, n_kv_heads=2, max_len=64)
    module = spec.build(at).train(training)
    where = Layout.of(torch.tensor(lengths))
    everyone = Same("one")
    where.tags["one"] = torch.zeros(sum(lengths), dtype=torch.int64)
    g = torch.Generator().manual_seed(0)
    heads = {"q": 4, "k": 2, "v": 2}
    found = []
    for mask in (Context().mask, everyone):
        g.manual_seed(0)
        s = {n: torch.randn(sum(lengths), h, 4, generator=g, dtype=torch.float64) for n, h in heads.items()}
        s = {n: t.requires_grad_() for n, t in s.items()}
        y, _ = module({n: where.grid(t).transpose(1, 2) for n, t in s.items()}, where, where, {}, Context(mask=mask))
        y = where.rows(y.transpose(1, 2))
        (y * torch.randn(y.shape, generator=g, dtype=torch.float64)).sum().backward()
        found.append([y.detach(), *(t.grad for t in s.values())])
    for a, b in zip(*found):
        close(a, b)
    assert module.frame(where)[0].longest // spec.block > spec.saves_from


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else [out]:
            if isinstance(t, torch.Tensor) and not t._is_view():
                self.elements = max(self.elements, t.numel())
        return out


@pytest.mark.parametrize("training", [False, True])
def test_memory_is_linear(training):
    """No tensor of n x n, forwards and backwards; twice the length makes twice the largest."""
    largest = []
    for n in (2048, 4096):
        at = site(**SIZES, max_len=None)
        module = build(jorip.MultiHead(mechanism=jorip.BigBird(block=16)), at, torch.float32).train(training)
        x = rows((n,), dtype=torch.float32)
        with Largest() as seen, torch.set_grad_enabled(training):
            v = x.x.clone().requires_grad_(training)
            y = apply(module, x._replace(x=v), at)
            if training:
                y.sum().backward()
        largest.append(seen.elements)
    assert largest[1] <= 2.2 * largest[0] and largest[1] < 4096**2 / 4


def test_dropout_is_of_short_inputs_only():
    """As in transformers, whose sparse form has none."""
    module = jorip.BigBird(block=2, random=1, dropout=0.5, plan="huggingface").build(site()).train()
    for n, drops in ((14, True), (15, False)):
        at = Layout.of(torch.tensor([n, n]))
        s = {k: torch.randn(2, 2, n, 4, generator=torch.Generator().manual_seed(0)) for k in "qkv"}
        a, b, c = (module(s, at, at, {}, Context(key=key))[0] for key in (Key(1, 0), Key(1, 0), Key(1, 1)))
        assert torch.equal(a, b) and torch.equal(a, c) != drops
        assert torch.equal(module(s, at, at, {}, Context())[0], a) != drops


def test_cost_of_long_inputs_is_counted():
    spec = jorip.MultiHead(mechanism=jorip.BigBird(block=2, random=1))
    for n in (15, 40, 41):
        module, x = build(spec, site(max_len=64)), rows((n, n))
        assert flops(lambda: apply(module, x, site(max_len=64))) == spec.cost(site(), Shape(2, n)).flops  # noqa: B023
    near, far = (jorip.BigBird().cost(site(), Shape(1, n)).mixing for n in (2**14, 2**17))
    assert far == 8 * near


def test_refusals():
    spec = jorip.MultiHead(mechanism=jorip.BigBird())
    for at, why in [
        (site(True), "big_bird cannot be causal: its last block is global, so every row would see the end: use local"),
        (site(cross=True), "big_bird cannot read a memory: its blocks are of one sequence: use full"),
    ]:
        with pytest.raises(Refused) as e:
            spec.build(at)
        assert f"layers.1.mixer: {why}" in str(e.value)
    with pytest.raises(Refused, match="transformers' plan depends on max_len: set it on the architecture"):
        jorip.BigBird(plan="huggingface").check(site(max_len=None))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"window": 4}, "window is centred on a block, so it must be odd, found 4"),
        ({"dropout": 0.1}, "the paper's plan has no dropout of weights: set dropout=0, found 0.1"),
        ({"plan": "huggingface", "window": 5}, "a window of 3 and 2 global blocks, found 5 and 2: use plan='paper'"),
        ({"block": 0}, "found 0"),
        ({"blok": 1}, "big_bird has no field 'blok'; did you mean 'block'?"),
    ],
)
def test_fields(fields, message):
    with pytest.raises(SpecError) as e:
        jorip.BigBird(**fields)
    assert message in str(e.value)


def test_where_transformers_cannot_draw():
    with pytest.raises(ConfigError, match="no rule to draw 5 random blocks in training from 16 blocks of 256"):
        hugging_face_plan.drawn(16, 1, 256, 5, 0, 4096)
    with pytest.raises(ConfigError, match="with max_len=1022: take another length"):
        hugging_face_plan.drawn(256, 1, 4, 1, 0, 1022)


def test_a_module_says_what_it_is():
    assert "block=64, random=3, plan='paper'" in repr(jorip.BigBird().build(site()))
