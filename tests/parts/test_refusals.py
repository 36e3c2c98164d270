"""What mixers cannot do is refused when the model is composed, with where, why and what to do."""

import pytest
import torch

import jorip
from jorip.core.errors import DataError, Refused, SpecError
from jorip.core.layout import Layout
from tests.contracts.zoo import apply, build, rows, site

SIZES = {"vocab_size": 9, "d_model": 8, "n_layers": 2, "n_heads": 2}


@pytest.mark.parametrize(
    "spec, at, message",
    [
        (jorip.Rnn(), {"cross": True}, "layers.1.mixer: rnn cannot read a memory: a recurrence mixes one sequence"),
        (jorip.Lstm(), {"cross": True}, "layers.1.mixer: lstm cannot read a memory"),
        (jorip.Lstm(d_hidden=7), {}, "half of the width each, so d_hidden must be even, found 7"),
        (jorip.Convolution(), {"cross": True}, "convolution cannot read a memory: it mixes one sequence"),
        (jorip.Convolution(kernel=4), {}, "centred on its row, so kernel must be odd, found 4"),
        (jorip.FullyConnected(), {"cross": True}, "fully_connected cannot read a memory"),
        (jorip.FullyConnected(), {"max_len": None}, "for every pair of positions: set max_len on the architecture"),
        (jorip.FullyConnected(groups=3), {}, "d_model must be a multiple of groups, found 8 and 3"),
        (jorip.MultiHead(), {"n_kv_heads": 3}, "n_heads must be a multiple of n_kv_heads, found 2 and 3"),
    ],
)
def test_sites_that_do_not_fit(spec, at, message):
    for refuse in (spec.check, spec.build):
        with pytest.raises(Refused) as e:
            refuse(site(**at))
        assert message in str(e.value)
    with pytest.raises(Refused, match=r"layers\.0"):  # the same through a whole model
        more = {"max_len": 16} | {n: v for n, v in at.items() if n in ("max_len", "n_kv_heads")}
        if at.get("cross"):
            decoder = jorip.Decoder(**SIZES, **more, layer=jorip.PreNorm(cross=spec))
            jorip.EncoderDecoder(encoder=jorip.Encoder(**SIZES), decoder=decoder).build(device="meta")
        else:
            jorip.Encoder(**SIZES, **more, layer=jorip.PreNorm(mixer=spec)).build(device="meta")


def test_causal_sites_take_what_others_refuse():
    jorip.Convolution(kernel=4).check(site(True))
    jorip.Lstm(d_hidden=7).check(site(True))


@pytest.mark.parametrize(
    "kind, fields, message",
    [
        (jorip.Convolution, {"kernel": 1}, "convolution.kernel: input should be greater than or equal to 2, found 1"),
        (jorip.Convolution, {"dilation": 0}, "found 0"),
        (jorip.Convolution, {"dilation": "tripple"}, "'double'"),
        (jorip.Lstm, {"d_hiden": 4}, "lstm has no field 'd_hiden'; did you mean 'd_hidden'?"),
        (jorip.Rnn, {"d_hidden": 0}, "greater than 0, found 0"),
        (jorip.FullyConnected, {"groups": 0}, "found 0"),
    ],
)
def test_fields(kind, fields, message):
    with pytest.raises(SpecError) as e:
        kind(**fields)
    assert message in str(e.value)


def test_fully_connected_has_a_longest_length():
    at = site(True, max_len=6)
    module = build(jorip.FullyConnected(), at)
    message = "layers.1.mixer: a sequence of 7 rows is longer than the max_len=6 that fully_connected was built for"
    with pytest.raises(DataError, match=message):
        apply(module, rows((2, 7)), at)
    state = module.new_state(1, 6, torch.float64)
    with torch.no_grad():
        apply(module, rows((6,)), at, state={at.path: state})
    more = rows((1,))._replace(at=Layout.of(torch.tensor([1]), start=torch.tensor([6])))
    with pytest.raises(DataError, match="a sequence of 7 rows"):
        apply(module, more, at, state={at.path: state})


def test_modules_say_what_they_are():
    assert "kernel=3, dilation=2, causal=True" in repr(build(jorip.Convolution(dilation="double"), site(True)))
    assert "max_len=16, groups=2, causal=False" in repr(build(jorip.FullyConnected(groups=2), site()))
