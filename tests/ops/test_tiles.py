"""Tiles against dense softmax with the same pairs: values, log-sum-exp, gradients of both, and what is kept."""

import pytest
import torch

from jorip.ops import tiles as ops
from jorip.ops.tiles import BLIND, Tiles, attend_tiles, merge
from tests.contracts.zoo import close


def dense(q, k, v, seen, scale):
    """(sequences, queries, keys) bool -> attention and log-sum-exp; blind queries give zeros and BLIND."""
    scores = (q @ k.transpose(1, 2) * scale).masked_fill(~seen, -torch.inf)
    blind = ~seen.any(-1)
    y = scores.masked_fill(blind[..., None], 0).softmax(-1).masked_fill(blind[..., None], 0) @ v
    return y, torch.where(blind, BLIND, scores.masked_fill(blind[..., None], 0).logsumexp(-1))


def pairs(t: Tiles, n: int, queries: int, keys: int, unseen) -> torch.Tensor:
    """What tiles say, pair by pair."""
    seen = torch.zeros(n, queries, keys, dtype=torch.bool)
    rows = queries // t.table.shape[1]
    for s in range(n):
        table = t.table[s % t.table.shape[0]]
        for tile, blocks in enumerate(table.tolist()):
            kind = 0 if t.kind is None else int(t.kind[s % t.kind.shape[0], tile])
            for slot, b in enumerate(blocks):
                if b < 0:
                    continue
                part = torch.ones(rows, t.block, dtype=torch.bool)
                if t.hidden is not None:
                    part = t.hidden[kind][:, slot * t.block : (slot + 1) * t.block] == 0
                if unseen is not None:
                    part = part & (unseen[s % unseen.shape[0], b * t.block : (b + 1) * t.block] == 0)
                seen[s, tile * rows : (tile + 1) * rows, b * t.block : (b + 1) * t.block] |= part
    return seen


def case(seed: int, hidden: bool, unseen: bool, absent: bool, own: bool):
    """Two sequences of two heads; a table for each, or one for all."""
    g = torch.Generator().manual_seed(seed)
    n, tiles, rows, block, blocks, slots = 4, 3, 2, 3, 5, 3
    draw = lambda: torch.randperm(blocks, generator=g)[:slots]  # noqa: E731
    table = torch.stack([torch.stack([draw() for _ in range(tiles)]) for _ in range(n if own else 1)])
    if absent:
        table[..., -1] = -1
        table[0, 1] = -1  # a tile that reads nothing
    cover = torch.rand(2, rows, slots * block, generator=g) < 0.4
    kinds = torch.randint(0, 2, (n if own else 1, tiles), generator=g)
    add = torch.zeros(cover.shape).masked_fill_(cover, -torch.inf) if hidden else None
    gone = torch.zeros(2, blocks * block, dtype=torch.float64)
    gone[0, 4:] = -torch.inf
    t = Tiles(table, block, add, kinds if hidden else None)
    q = torch.randn(n, tiles * rows, 4, generator=g, dtype=torch.float64)
    k, v = (torch.randn(n, blocks * block, d, generator=g, dtype=torch.float64) for d in (4, 5))
    return q, k, v, t, gone if unseen else None


FORMS = [(h, u, a, o) for h in (False, True) for u in (False, True) for a in (False, True) for o in (False, True)]


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("each", [1, 36, 72, 108, 162, 2**19])
@pytest.mark.parametrize("hidden, unseen, absent, own", FORMS)
def test_tiles_are_dense_softmax(hidden, unseen, absent, own, each, within, monkeypatch):
    """With one tile a step, two of a sequence's three, one, two or three of the four sequences, and all in one; within:
    heads lie within rows, as in a product of projections, and so do the answers; also the gradient through the
    log-sum-exp, which joins parts."""
    monkeypatch.setattr(ops, "CACHED", each)
    for seed in range(3):
        q, k, v, t, gone = case(seed, hidden, unseen, absent, own)
        seen = pairs(t, 4, q.shape[1], k.shape[1], gone)
        if within:
            q, k, v = (i.transpose(0, 1).contiguous().transpose(0, 1) for i in (q, k, v))
        x = [i.requires_grad_() for i in (q, k, v)]
        got, want = attend_tiles(q, k, v, t, gone, 0.3), dense(q, k, v, seen, 0.3)
        assert (got[0].transpose(0, 1) if within else got[0]).is_contiguous()
        for a, b in zip(got, want):
            close(a, b)
        w = [torch.randn_like(o) for o in got]
        some = seen.any(-1)  # what is blind has no log-sum-exp to learn from
        total = lambda o: (o[0] * w[0]).sum() + (o[1] * w[1])[some].sum()  # noqa: B023, E731
        for a, b in zip(torch.autograd.grad(total(got), x), torch.autograd.grad(total(want), x)):
            close(a, b)


def test_gradcheck():
    q, k, v, t, gone = case(0, True, True, True, True)
    x = tuple(i.requires_grad_() for i in (q, k, v))
    assert torch.autograd.gradcheck(lambda *x: attend_tiles(*x, t, gone, 0.3)[0], x)


def test_blind_queries_give_zeros_and_zero_gradient():
    q, k, v, t, _ = case(1, False, False, True, False)
    gone = torch.full((1, k.shape[1]), -torch.inf, dtype=torch.float64)
    x = [i.requires_grad_() for i in (q, k, v)]
    y, lse = attend_tiles(q, k, v, t, gone, 0.3)
    assert not y.any() and (lse == BLIND).all()
    assert all(not g.any() for g in torch.autograd.grad((y.sum() + 0 * lse.sum()), x))


def test_merging_disjoint_keys_is_attention_over_all_of_them():
    q, k, v, _, _ = case(2, False, False, False, False)
    x = [i.requires_grad_() for i in (q, k, v)]
    blocks = [(0, 1), (2,), (3, 4)]
    parts = [attend_tiles(q, k, v, Tiles(torch.tensor([[b] * 3]), 3), None, 0.3) for b in blocks]
    got = merge(parts)
    want = (q @ k.transpose(1, 2) * 0.3).softmax(-1) @ v
    close(got, want)
    w = torch.randn_like(want)
    for a, b in zip(torch.autograd.grad(got, x, w), torch.autograd.grad(want, x, w)):
        close(a, b)
    assert merge(parts[:1]) is parts[0][0]
    blind = torch.zeros_like(want), torch.full(want.shape[:2], BLIND, dtype=want.dtype)
    close(merge([*parts, blind]), want)
    close(merge([blind, blind]), blind[0])


def test_large_scores_do_not_overflow():
    q, k, v, t, gone = case(3, True, True, False, True)
    for factor in (1e3, 1e6):
        seen = pairs(t, 4, q.shape[1], k.shape[1], gone)
        a, b = attend_tiles(q * factor, k, v, t, gone, 0.3), dense(q * factor, k, v, seen, 0.3)
        close(a[0], b[0])
        close(a[1], b[1])


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_narrow_numbers(dtype, tolerance):
    """Sums are made in float32 at least, whatever the inputs are."""
    q, k, v, t, gone = case(4, True, True, True, True)
    x = [i.to(dtype).requires_grad_() for i in (q, k, v)]
    y, lse = attend_tiles(*x, t, gone.to(dtype), 0.3)
    exact = [i.detach().double().requires_grad_() for i in x]
    want, want_lse = dense(*exact, pairs(t, 4, q.shape[1], k.shape[1], gone), 0.3)
    assert y.dtype == dtype and lse.dtype == torch.float32
    torch.testing.assert_close(y.double(), want, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(lse.double(), want_lse, rtol=tolerance, atol=tolerance)
    w = torch.randn_like(want)
    for a, b in zip(torch.autograd.grad(y, x, w.to(dtype)), torch.autograd.grad(want, exact, w)):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), b, rtol=2 * tolerance, atol=2 * tolerance)


def test_nothing_of_the_size_of_the_pairs_is_kept():
    n, length, d = 2, 2048, 16
    table = torch.arange(length // 64)[None, :, None].expand(1, -1, 8).contiguous()
    x = [torch.randn(n, length, d, requires_grad=True) for _ in range(3)]
    kept = []

    def pack(t):
        kept.append(t.numel())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        attend_tiles(*x, Tiles(table, 64), None, 0.25)
    assert sum(kept) <= 5 * n * length * d
