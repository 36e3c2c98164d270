"""The hash: stable numbers, uniform bits, no visible structure."""

import torch

from jorip.core.random import Key, drop_scale, mix, mix_ints, row_keys, salt, uniform_bits


def test_numbers_never_change():
    """A resumed run must draw what the interrupted one would have drawn, also after an upgrade."""
    assert mix_ints(1, 2, 3) == NUMBERS["mix_ints"] and salt("layers.0.drops.mixer") == NUMBERS["salt"]
    keys = row_keys(torch.tensor([0, 5, 2**40]), torch.tensor([0, 1, 2]))
    assert keys.tolist() == NUMBERS["row_keys"] and keys.dtype == torch.int32
    assert uniform_bits(keys, 2, 99).tolist() == NUMBERS["bits"]
    assert (drop_scale(keys, 8, 7, 0.5, torch.float32) > 0).int().tolist() == NUMBERS["kept"]


NUMBERS = {
    "mix_ints": 1986516698,
    "salt": 1077602659,
    "row_keys": [1453608534, -936352371, -823815268],
    "bits": [[-1626395634, -840939370], [-555946941, -1514748313], [-728292560, 639197488]],
    "kept": [[1, 0, 0, 0, 1, 0, 1, 1], [1, 1, 0, 0, 0, 1, 0, 1], [1, 0, 0, 0, 1, 1, 0, 0]],
}


def test_each_number_matters():
    base = mix_ints(1, 2, 3)
    assert len({base, mix_ints(3, 2, 1), mix_ints(1, 2), mix_ints(1, 2, 2**32 + 3), mix_ints(-1, 2, 3)}) == 5
    uid, position = torch.arange(300).repeat_interleave(50), torch.arange(50).repeat(300)
    assert len(row_keys(uid, position).unique()) > 300 * 50 - 3  # 32 bits: about 0.03 collisions are expected
    assert len(row_keys(uid << 32, position).unique()) > 300 * 50 - 3
    assert not torch.equal(mix(uid.int(), 1), mix(uid.int(), 2))


def test_bits_are_uniform():
    keys = row_keys(torch.arange(1000), torch.zeros(1000, dtype=torch.int64))
    bits = uniform_bits(keys, 64, 7).flatten()
    for shift in range(32):  # both halves decide about an element
        share = ((bits >> shift) & 1).double().mean().item()
        assert abs(share - 0.5) < 5 * 0.5 / len(bits) ** 0.5, shift
    counts = torch.bincount((bits >> 24) + 128, minlength=256).double()
    expected = len(bits) / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 6 * (2 * 255) ** 0.5
    for p in (0.01, 0.3, 0.99):
        scale = drop_scale(keys, 63, 7, p, torch.float64)
        assert scale.shape == (1000, 63) and torch.equal(
            scale.unique(), torch.tensor([0, 1 / (1 - p)], dtype=torch.float64)
        )
        share = (scale == 0).double().mean().item()
        assert abs(share - p) < 5 * (p * (1 - p) / scale.numel()) ** 0.5
        assert torch.equal(scale[:, :7], drop_scale(keys, 7, 7, p, torch.float64)), (
            "how many columns there are is no matter"
        )


def test_fresh_keys_follow_torchs_seed():
    torch.manual_seed(3)
    a = Key.fresh()
    torch.manual_seed(3)
    assert a == Key.fresh() and a != Key.fresh()
