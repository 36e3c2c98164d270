"""FlexAttention over the tables of tiles against `ops/tiles`: by what its block masks say, and by torch's own form of
it, forward, which is all that there is on a CPU. What a GPU compiles is compared there, once, before it is used."""

import pytest
import torch
from torch.nn.attention import flex_attention as torch_flex

from jorip.ops import flex
from jorip.ops.flex import attend_flex, has_flex
from jorip.ops.tiles import BLIND, Tiles, _by_products, attend_tiles
from tests.contracts.zoo import close
from tests.ops.test_tiles import FORMS


def kernel(q, k, v, score, mask, scale, return_aux):
    """What `flex_attention` is said to compute, block list by block list."""
    s = (q @ k.transpose(2, 3)) * scale
    at = [torch.arange(n).view([-1 if i == d else 1 for i in range(4)]) for d, n in enumerate(s.shape)]
    seen = torch.zeros(s.shape, dtype=torch.bool)
    lists = (mask.kv_num_blocks, mask.kv_indices, False), (mask.full_kv_num_blocks, mask.full_kv_indices, True)
    for count, which, full in lists:
        blocks = torch.zeros(*which.shape[:3], which.shape[3] + 1, dtype=torch.bool)
        beyond = torch.arange(which.shape[3]) >= count[..., None]
        blocks.scatter_(3, which.long().masked_fill(beyond, which.shape[3]), True)
        own = blocks[..., :-1].repeat_interleave(128, 2).repeat_interleave(128, 3)[:, :, : s.shape[2], : s.shape[3]]
        seen = seen | (own if full else own & mask.mask_mod(*at))
    s = (s if score is None else score(s, *at)).masked_fill(~seen, -torch.inf)
    blind = ~seen.any(3, keepdim=True)
    y = s.masked_fill(blind, 0).softmax(3).masked_fill(blind, 0) @ v
    return y, torch_flex.AuxOutput(s.masked_fill(blind, 0).logsumexp(3).masked_fill(blind[..., 0], -torch.inf), None)


def case(seed: int, block: int, hidden: bool, unseen: bool, absent: bool, own: bool):
    """Four sequences of 5 tiles over 7 blocks, which 128 does not divide where the block is small."""
    g = torch.Generator().manual_seed(seed)
    n, tiles, blocks, slots = 4, 5, 7, 3
    table = torch.stack([
        torch.stack([torch.randperm(blocks, generator=g)[:slots] for _ in range(tiles)]) for _ in range(n if own else 1)
    ])  # fmt: skip
    if absent:
        table[..., -1] = -1
        table[0, 1] = -1  # a tile that reads nothing
    cover = torch.rand(3, block, slots * block, generator=g) < 0.4
    cover[2] = False  # a kind that hides nothing
    add = torch.zeros(cover.shape).masked_fill_(cover, -torch.inf) if hidden else None
    kind = torch.randint(0, 3, (n if own else 1, tiles), generator=g) if hidden else None
    gone = torch.zeros(2, blocks * block, dtype=torch.float64)
    gone[0, 3 * block + 1 :] = -torch.inf
    q, k, v = (torch.randn(n, m * block, d, generator=g, dtype=torch.float64) for m, d in ((5, 4), (7, 4), (7, 6)))
    return q, k, v, Tiles(table, block, add, kind), gone if unseen else None


def same(x, tiles: Tiles, gone):
    """Answers, log-sum-exps and gradients through both."""
    q, k, v = (i.requires_grad_() for i in x)
    want = attend_tiles(q, k, v, tiles, gone, 0.3)
    y, lse = attend_flex(q, k, v, *tiles, gone, 0.3, kernel=kernel)
    for a, b in zip((y, lse.clamp(min=BLIND)), want):
        close(a, b)
    w, blind = (torch.randn_like(want[0]), torch.randn_like(want[1])), want[1] <= BLIND
    both = [(w[0] * a).sum() + (w[1] * b.masked_fill(blind, 0)).sum() for a, b in ((y, lse), want)]
    for a, b in zip(*(torch.autograd.grad(loss, (q, k, v)) for loss in both)):
        close(a, b)


@pytest.mark.parametrize("block", [2, 64, 128])
@pytest.mark.parametrize("hidden, unseen, absent, own", FORMS)
def test_the_same_pairs_as_tiles(hidden, unseen, absent, own, block):
    q, k, v, tiles, gone = case(block, block, hidden, unseen, absent, own)
    same((q, k, v), tiles, gone)


def test_blocks_of_several_times_128_and_keys_that_count_twice():
    q, k, v, tiles, gone = case(0, 256, False, True, True, True)
    tiles.table[..., 1] = tiles.table[..., 0]  # as in BigBird, whose random blocks may repeat others
    same((q, k, v), tiles, gone)


def test_masks_of_heads_for_a_table_of_all():
    """As when keys are hidden by head and blocks are not, or the other way round."""
    q, k, v, tiles, gone = case(1, 64, True, False, False, False)
    each = tiles._replace(kind=torch.randint(0, 3, (4, 5)))
    same((q, k, v), each, gone)
    q, k, v, tiles, gone = case(1, 64, True, False, False, True)
    assert tiles.kind is not None
    same((q, k, v), tiles._replace(kind=tiles.kind[:1]), gone)
    same((q, k, v), tiles._replace(kind=None), gone)


def test_blocks_are_named_and_those_seen_in_full_are_not_asked_about():
    """What the kernel reads is what the table holds, to 128 rows: it is a sparse kernel, not a masked dense one."""
    masks = []

    def note(*x, **more):
        masks.append(x[4])
        return kernel(*x, **more)

    table = torch.tensor([[[0, -1], [0, 1], [2, 3], [6, 7]]])  # blocks of 64: of 128 rows 0; 0 and 1, both in part
    x = torch.zeros(2, 256, 4), torch.zeros(2, 512, 4), torch.zeros(2, 512, 4)
    attend_flex(*x, table, 64, None, None, None, 1.0, kernel=note)
    table[:] = torch.tensor([2, 3])
    attend_flex(*x, table, 64, None, None, None, 1.0, kernel=note)
    for m, part, full in zip(masks, ([[0], [1, 3]], [[], []]), ([[], []], [[1], [1]])):
        for num, which, want in (
            (m.kv_num_blocks, m.kv_indices, part),
            (m.full_kv_num_blocks, m.full_kv_indices, full),
        ):
            assert [sorted(w[:n].tolist()) for w, n in zip(which[0, 0], num[0, 0])] == want


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_torch_takes_it():
    """torch's own form, uncompiled and forward: that the masks are what it expects, and its log-sum-exp ours."""
    for own in (False, True):
        q, k, v, tiles, gone = case(2, 64, True, True, True, own)
        want = attend_tiles(q, k, v, tiles, gone, 0.3)
        y, lse = attend_flex(q, k, v, *tiles, gone, 0.3, kernel=torch_flex.flex_attention)
        close(y, want[0])
        close(lse.clamp(min=BLIND), want[1])


def test_only_on_a_gpu_and_where_it_agrees(monkeypatch):
    q, cpu = torch.zeros(2, 256, 64), torch.device("cpu")
    assert not has_flex(q, q, 4, 64, _by_products)  # a CPU

    def twice(*x, **more):
        y, lse = kernel(*x, **more)
        return 2 * y, lse

    def none(*_, **__):
        raise RuntimeError("no triton here")

    monkeypatch.setattr(flex, "_compiled", lambda: kernel)
    assert flex._agrees.__wrapped__(cpu, torch.float32, _by_products)
    for made, why in (
        (twice, r"differs from the reference by \d"),
        (none, "could not run: RuntimeError: no triton here"),
    ):
        monkeypatch.setattr(flex, "_compiled", lambda made=made: made)
        with pytest.warns(UserWarning, match=f"FlexAttention for torch.float32 on cpu {why}.*which is slower"):
            assert not flex._agrees.__wrapped__(cpu, torch.float32, _by_products)
