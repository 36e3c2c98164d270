"""Initialisation: laws by role, each parameter from its own seed, recurrent cells."""

import pytest
import torch
from torch import nn

import jorip
from jorip.core.init import Init, Linear, Normal, Xavier, initialise

BIG = {"vocab_size": 400, "d_model": 64, "n_layers": 2, "n_heads": 4, "max_len": 64}


def named(model):
    return dict(model.named_parameters())


@pytest.mark.parametrize("kind", [jorip.Encoder, jorip.Decoder])
@pytest.mark.parametrize("law", [Xavier(), Normal(), Xavier(gain=0.5), Normal(std=0.1, scale_residual=False)], ids=repr)
def test_laws(law, kind):
    p = named(kind(**BIG, init=law, position=jorip.Learned()).build(seed=0))
    for name, value in p.items():
        if name.endswith("bias"):
            assert (value == 0).all(), name
        elif "norm" in name:
            assert (value == 1).all(), name
        elif "embedding" in name or name == "position.weight":
            near(value, 64**-0.5 if isinstance(law, Xavier) else law.std)
        elif isinstance(law, Xavier):
            fan = sum(value.shape)
            near(value, law.gain * (2 / fan) ** 0.5)
            assert value.abs().max() <= law.gain * (6 / fan) ** 0.5
        else:
            out = ".out." in name or ".down." in name
            near(value, law.std * (4**-0.5 if out and law.scale_residual else 1))


def near(value, std):
    assert abs(value.std().item() / std - 1) < 0.1 and abs(value.mean().item()) < 0.1 * std


def test_every_linear_layer_has_a_role():
    model = jorip.EncoderDecoder(encoder=jorip.Encoder(**BIG), decoder=jorip.Decoder(**BIG)).build(device="meta")
    roles = {n: m.role for n, m in model.named_modules() if isinstance(m, Linear)}
    assert len(roles) == 2 * 6 + 2 * 10 + 1
    assert all((r == "out") == n.endswith((".mixer.out", ".cross.out", ".down")) for n, r in roles.items())


def test_adding_a_part_changes_no_other():
    small = named(jorip.Encoder(**BIG).build(seed=5))
    large = named(jorip.Encoder(**BIG | {"n_layers": 3}, readout=jorip.Tagger()).build(seed=5))
    assert all(torch.equal(v, large[n]) for n, v in small.items())
    other = named(jorip.Encoder(**BIG).build(seed=6))
    assert not torch.equal(small["layers.0.mixer.q.weight"], other["layers.0.mixer.q.weight"])
    assert not torch.equal(small["layers.0.mixer.q.weight"], small["layers.0.mixer.k.weight"])


def test_without_a_seed_torchs_generator_decides():
    torch.manual_seed(1)
    a = named(jorip.Encoder(**BIG).build())
    torch.manual_seed(1)
    b = named(jorip.Encoder(**BIG).build())
    assert all(torch.equal(v, b[n]) for n, v in a.items())
    assert not torch.equal(a["embedding.tokens.weight"], named(jorip.Encoder(**BIG).build())["embedding.tokens.weight"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("cell, gates", [(nn.RNN, 1), (nn.LSTM, 4)])
def test_recurrent_cells(cell, gates, dtype):
    m = cell(6, 8).to(dtype)
    initialise(m, Xavier(), 1, 0)
    close = {torch.bfloat16: 2e-2}.get(dtype, 1e-5)
    for gate in m.weight_hh_l0.split(8):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8, dtype=dtype), rtol=close, atol=close)
    assert m.weight_ih_l0.shape == (8 * gates, 6) and m.weight_ih_l0.abs().max() <= (6 / 14) ** 0.5 + 1e-2
    assert (m.bias_hh_l0 == 0).all()
    if gates == 4:  # the forget gate starts open
        assert m.bias_ih_l0.tolist() == [0] * 8 + [1] * 8 + [0] * 16
    else:
        assert (m.bias_ih_l0 == 0).all()


def test_fully_connected_follows_the_length():
    p = named(jorip.Decoder(**BIG, layer=jorip.PreNorm(mixer=jorip.FullyConnected(groups=4))).build(seed=0))
    near(p["layers.0.mixer.weight"], 64**-0.5)
    assert (p["layers.0.mixer.bias"] == 0).all()


def test_buffers_are_made_by_reset():
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", torch.empty(3))

        def reset(self):
            self.table = torch.arange(3.0)

    part = Part()
    initialise(part, Xavier(), 1, 0)
    assert part.table.tolist() == [0, 1, 2]


def test_a_law_must_be_complete():
    class Half(Init, abstract=True):
        pass

    with pytest.raises(TypeError, match="has no law for weights"):
        initialise(Linear(2, 2), Half(), 1, 0)
