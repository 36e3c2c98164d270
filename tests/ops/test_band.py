"""A band by overlapping views against dense softmax with the same pairs: values, gradients, and what is kept."""

import pytest
import torch

from jorip.ops import band as ops
from jorip.ops.band import Band, attend_band
from tests.contracts.zoo import close


def dense(q, k, v, lengths, band, scale):
    place = torch.arange(q.shape[2])
    seen = band.allow(place[:, None], place) & (place < torch.tensor(lengths)[:, None, None])
    w = (q @ k.transpose(2, 3) * scale).masked_fill(~seen[:, None], -torch.inf).softmax(-1).nan_to_num()
    real = (place < torch.tensor(lengths)[:, None])[:, None, :, None]
    return (w @ v) * real


BANDS = [
    Band(3, 2),
    Band(9, 0, causal=True),
    Band(0, 0),
    Band(4, 4, first=3),
    Band(5, 0, first=2, causal=True),
    Band(2, 30, first=9),
    Band(70, 70, first=1),
    Band(0, 0, first=7),
    Band(1, 1, first=100),
    Band(2**28, 2**28),
    Band(0, 0, first=17, causal=True),
]


@pytest.mark.parametrize("band", BANDS, ids=str)
@pytest.mark.parametrize("rows", [1, 4, 64])
def test_is_dense_softmax(band, rows, monkeypatch):
    monkeypatch.setattr(ops, "ROWS", rows)
    monkeypatch.setattr(ops, "TOGETHER", 3)
    torch.manual_seed(0)
    lengths = [50, 1, 0, 37]
    made = [torch.randn(4, 50, 3, 5, dtype=torch.float64).transpose(1, 2).requires_grad_() for _ in range(3)]
    g = torch.randn(4, 3, 50, 5, dtype=torch.float64)
    y, z = (f(*made, lengths, band, 0.7) for f in (attend_band, dense))
    close(y, z, 1e-12)
    for a, b in zip(torch.autograd.grad(y, made, g), torch.autograd.grad(z, made, g)):
        close(a, b, 1e-12)


@pytest.mark.parametrize("band", BANDS, ids=str)
@pytest.mark.parametrize("length", [1, 63, 64, 65, 200, 1000])
def test_parts_hold_every_pair_once(band, length):
    seen = torch.zeros(length, length, dtype=torch.int64)
    place = torch.arange(length)
    for p in band.parts(length):
        for t in range(p.tiles):
            q, k = (
                slice(at + t * ops.ROWS, at + t * ops.ROWS + n) for at, n in ((p.start, p.rows), (p.begin, p.width))
            )
            assert min(q.start, k.start) >= 0 and max(q.stop, k.stop) <= length
            seen[q, k] += band.allow(place[q, None], place[k])
    assert torch.equal(seen, band.allow(place[:, None], place).long())
    assert band.pairs(length) >= int(seen.sum())


def test_keeps_only_rows():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        made = [torch.randn(1, 2, 1000, 8, requires_grad=True) for _ in range(3)]
        attend_band(*made, [1000], Band(100, 100, 5), 1.0)
    assert sum(kept) == 4 * 16000 + 2000
