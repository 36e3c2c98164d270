"""Every fast form of linear attention is its definition, step by step and over all pairs, with gradients and states."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jorip.ops.linear_attention import Features, ratio, recurrent, weights
from jorip.ops.linear_attention_scan import scan
from jorip.ops.linear_attention_steps import SHORT, Channels, Decayed, Delta, Sum
from jorip.ops.linear_attention_whole import fold, read

BATCH, HEADS, DIM, SIZE = 2, 4, 3, 5


def elu(x: Tensor) -> Tensor:
    return F.elu(x) + 1


def unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def inputs(length: int, heads: int = HEADS, size: int = SIZE, dtype=torch.float64) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(length + heads)
    draw = lambda *shape: torch.randn(BATCH, *shape, generator=g, dtype=torch.float64).to(dtype)  # noqa: E731
    return {
        "q": draw(HEADS, length, size),
        "k": draw(heads, length, size),
        "v": draw(heads, length, DIM),
        "one": F.logsigmoid(draw(heads, length, 1)),
        "many": F.logsigmoid(draw(heads, length, size)),
        "beta": draw(heads, length, 1).sigmoid(),
    }


POSITIVE, UNIT = Features(elu, elu), Features(unit, unit)
KINDS = {
    "sum": (Sum(POSITIVE), POSITIVE, ()),
    "decayed": (Decayed(POSITIVE, True), POSITIVE, ("one",)),
    "decayed, not divided": (Decayed(POSITIVE, False), POSITIVE, ("one",)),
    "channels": (Channels(UNIT, False), UNIT, ("many",)),
    "delta": (Delta(UNIT), UNIT, ("beta",)),
    "delta, decayed": (Delta(UNIT), UNIT, ("beta", "one")),
}


def definition(kind: str, x: dict[str, Tensor], state: Tensor) -> tuple[Tensor, Tensor]:
    step, f, more = KINDS[kind]
    decay = next((x[n] for n in more if n != "beta"), None)
    beta = x["beta"] if "beta" in more else None
    return recurrent(f.queries(x["q"]), f.keys(x["k"]), x["v"], decay, beta, state, step.normalised, f.least)


def chunked(kind: str, x: dict[str, Tensor], state: Tensor, chunk: int, keep: Tensor | None = None):
    step, _, more = KINDS[kind]
    rest = [x[n] for n in more]
    return scan(step, chunk, state, x["q"], x["k"], x["v"], keep, *([*rest, None] if more == ("beta",) else rest))


def start(kind: str, heads: int, filled: bool = True) -> Tensor:
    g = torch.Generator().manual_seed(5)
    shape = BATCH, heads, SIZE, DIM + KINDS[kind][0].normalised
    return torch.rand(shape, generator=g, dtype=torch.float64) * filled


@pytest.mark.parametrize("heads", [HEADS, 2, 1])
@pytest.mark.parametrize("length, chunk", [(0, 4), (1, 4), (7, 1), (7, 3), (40, 20), (37, 64), (2 * SHORT, SHORT)])
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_are_the_definition(kind, length, chunk, heads):
    """Outputs, the last state, and the gradients of everything, the first state among it."""
    found = []
    for run in (definition, lambda *a: chunked(*a, chunk)):
        x = {n: v.requires_grad_() for n, v in inputs(length, heads).items()}
        s = start(kind, heads).requires_grad_()
        y, last = run(kind, x, s)
        g = torch.Generator().manual_seed(0)
        loss = sum((o * torch.randn(o.shape, generator=g, dtype=o.dtype)).sum() for o in (y, last))
        used = {n: x[n] for n in ("q", "k", "v", *KINDS[kind][2])}
        grads = torch.autograd.grad(loss, [s, *used.values()], allow_unused=True)
        found.append([y, last, *(torch.zeros(()) if g is None or not g.numel() else g for g in grads)])
    for want, got in zip(*found):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("heads", [HEADS, 2])
def test_strong_decays_of_channels_are_the_definition(heads):
    """Pair by pair, where a product would overflow; whole blocks and a rest."""
    found = []
    for run in (definition, lambda *a: chunked(*a, 40)):
        x = {n: (v * 9 if n == "many" else v).requires_grad_() for n, v in inputs(2 * SHORT + 5, heads).items()}
        y, last = run("channels", x, start("channels", heads))
        grads = torch.autograd.grad((y * torch.arange(y.numel()).view(y.shape).sin()).sum() + last.sum(),
                                    [x[n] for n in ("q", "k", "v", "many")])  # fmt: skip
        found.append([y, last, *grads])
    for want, got in zip(*found):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_without_gradients_the_same(kind):
    x = inputs(20)
    with torch.no_grad():
        plain = chunked(kind, x, start(kind, HEADS), 6)
    recorded = chunked(kind, {n: v.requires_grad_() for n, v in x.items()}, start(kind, HEADS), 6)
    for a, b in zip(plain, recorded):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_in_pieces_is_the_pass(kind):
    x, s, ys = inputs(23), start(kind, HEADS, filled=False), []
    whole, last = chunked(kind, x, s, 8)
    for piece in (slice(0, 10), slice(10, 10), slice(10, 11), slice(11, 23)):
        y, s = chunked(kind, {n: v[:, :, piece] for n, v in x.items()}, s, 4)
        ys.append(y)
    torch.testing.assert_close(torch.cat(ys, 2), whole, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(s, last, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_do_not_exist_change_nothing(kind):
    """Holes at the end: features of keys are taken off, decays and betas are zero; the state is that of the rows."""
    x, real = inputs(9), torch.tensor([9, 4])
    keep = (torch.arange(9) < real[:, None])[:, None, :, None].double()
    held = {n: v * keep if n in ("one", "many", "beta") else v for n, v in x.items()}
    y, last = chunked(kind, held, start(kind, HEADS), 4, keep)
    for i, n in enumerate(real.tolist()):
        one = {m: v[i : i + 1, :, :n] for m, v in x.items()}
        want, state = definition(kind, one, start(kind, HEADS)[i : i + 1])
        torch.testing.assert_close(y[i : i + 1, :, :n], want, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(last[i : i + 1], state, rtol=1e-10, atol=1e-10)


def test_the_definition_is_the_map_over_all_pairs():
    x, seen = inputs(11, heads=2), torch.ones(11, 11, dtype=torch.bool).tril()
    a, b = elu(x["q"]), elu(x["k"])
    spread = x["v"].repeat_interleave(2, 1)
    for decay in (None, x["one"]):
        w = weights(a, b, seen, decay)
        torch.testing.assert_close(w.sum(-1), torch.ones_like(w[..., 0]))
        torch.testing.assert_close(w @ spread, recurrent(a, b, x["v"], decay, normalised=True)[0])
    products = (a @ b.repeat_interleave(2, 1).mT).tril()
    torch.testing.assert_close(weights(a, b, seen), products / products.sum(-1, keepdim=True))


@pytest.mark.parametrize("heads", [HEADS, 2])
@pytest.mark.parametrize("queries, keys", [(6, 6), (1, 9), (300, 200), (0, 3), (3, 0)])
def test_one_sum_is_the_map_over_all_pairs(queries, keys, heads):
    q, k, v = inputs(queries, heads)["q"], inputs(keys, heads)["k"], inputs(keys, heads)["v"]
    real = torch.tensor([keys, keys // 2])
    keep = (torch.arange(keys) < real[:, None])[:, None, :, None].double()
    found = []
    for fast in (True, False):
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        a, b, c = leaves
        if fast:
            y = read(a, fold(b, c, keep, POSITIVE, SIZE), POSITIVE)
        else:
            w = weights(elu(a), elu(b) * keep, torch.ones(queries, keys, dtype=torch.bool))
            y = w @ c.repeat_interleave(HEADS // heads, 1)
        (y * torch.arange(y.numel()).view(y.shape).sin()).sum().backward()
        found.append([y, *(x.grad for x in leaves)])
    for got, want in zip(*found):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", ["decayed", "channels", "delta, decayed"])
def test_strong_and_weak_decays_are_safe_in_float32(kind):
    for strength in (1e-8, 1.0, 300.0, 1e4, 1e30):
        x = {n: v * strength if n in ("one", "many") else v for n, v in inputs(50, dtype=torch.float32).items()}
        x = {n: v.detach().requires_grad_() for n, v in x.items()}
        y, last = chunked(kind, x, start(kind, HEADS).float(), 64)
        want, _ = definition(kind, {n: v.detach().double() for n, v in x.items()}, start(kind, HEADS))
        torch.testing.assert_close(y.detach().double(), want, rtol=2e-4, atol=2e-4)
        (y.sum() + last.sum()).backward()
        assert all(x[n].grad.isfinite().all() for n in ("q", "k", "v", *KINDS[kind][2]))


def test_bfloat16_is_computed_in_float32_also_under_autocast():
    x = inputs(300, dtype=torch.bfloat16)
    want, state = definition("sum", {n: v.double() for n, v in x.items()}, start("sum", HEADS, filled=False))
    q, k, v = (x[n].clone().requires_grad_() for n in "qkv")
    for mixed in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            y, last = scan(Sum(POSITIVE), 64, start("sum", HEADS, filled=False).float(), q, k, v, None)
            whole = read(q, fold(k, v, None, POSITIVE, SIZE), POSITIVE)
        assert (y.dtype, last.dtype, whole.dtype) == (torch.bfloat16, torch.float32, torch.bfloat16)
        torch.testing.assert_close(y.double(), want, rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(last.double(), state, rtol=1e-4, atol=1e-3)
        (y.float().sum() + whole.float().sum()).backward()
        assert all(t.grad.dtype == torch.bfloat16 and t.grad.isfinite().all() for t in (q, k, v))


def test_a_denominator_of_nothing_gives_zeros_and_zero_gradient():
    num, den = torch.ones(4, 2, requires_grad=True), torch.tensor([2.0, 0.0, 1e-3, -1.0])[:, None].requires_grad_()
    for least, want in ((0.0, [0.5, 0.0, 1e3, 0.0]), (0.1, [0.5, 10.0, 10.0, 10.0])):
        y = ratio(num, den, least)
        assert y[:, 0].tolist() == pytest.approx(want)
        (grad,) = torch.autograd.grad(y.sum(), den)
        replaced = [1, 3] if least == 0 else [1, 2, 3]
        assert (grad[replaced] == 0).all() and grad[0] == -0.5
    x = inputs(6)
    keys = Features(elu, lambda k: elu(k) * 0)
    for y in (scan(Sum(keys), 4, start("sum", HEADS, False), x["q"], x["k"], x["v"], None)[0],
              read(x["q"], fold(x["k"], x["v"], None, keys, SIZE), keys)):  # fmt: skip
        assert (y == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_size_of_the_pairs_is_kept(kind):
    """Four times the length keeps four times the bytes, of inputs, outputs and one state a chunk."""

    def kept(length: int) -> int:
        found = {}

        def pack(t):
            found[t.untyped_storage().data_ptr()] = t.untyped_storage()
            return t

        x = {n: v.requires_grad_() for n, v in inputs(length).items()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            _ = chunked(kind, x, start(kind, HEADS), 32)
        return sum(s.nbytes() for s in found.values())

    assert kept(1024) < 4.1 * kept(256) and kept(1024) < 8 * BATCH * HEADS * 1024 * 8 * SIZE


def test_frozen_inputs_need_no_gradient():
    x = inputs(9)
    for leaf in "qkv":
        x[leaf] = x[leaf].detach().requires_grad_()
        y, _ = chunked("sum", x, start("sum", HEADS), 4)
        (got,) = torch.autograd.grad(y.sum(), x[leaf])
        (want,) = torch.autograd.grad(definition("sum", x, start("sum", HEADS))[0].sum(), x[leaf])
        torch.testing.assert_close(got, want)
        x[leaf] = x[leaf].detach()
