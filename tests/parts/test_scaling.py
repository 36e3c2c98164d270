"""Every law of rotary frequencies against transformers' own function, and against its paper's words."""

import json
import math
import pickle

import pytest
import torch
import transformers as hf
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from jorip.core.context import Context
from jorip.core.errors import Refused, SpecError
from jorip.core.layout import Layout
from jorip.core.site import Site
from jorip.parts.position.rotary import Rotary
from jorip.parts.position.scaling import Dynamic, Linear, Llama3, LongRope, Scaling, Yarn

SITE = Site("position", d_model=36, n_heads=3, n_kv_heads=3, head_dim=12)
ORIGINAL = "original_max_position_embeddings"
SHORT, LONG = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0), (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
CASES = [
    (Linear(factor=3.0), {"factor": 3.0}),
    (Dynamic(factor=3.0, original=40), {"factor": 3.0}),
    (Yarn(factor=4.0, original=10), {"factor": 4.0, ORIGINAL: 10}),
    (Yarn(factor=8.0, original=200, truncate=False), {"factor": 8.0, ORIGINAL: 200, "truncate": False}),
    (
        Yarn(factor=2.0, original=64, attention=1.25, beta_fast=6.0, beta_slow=0.25),
        {"factor": 2.0, ORIGINAL: 64, "attention_factor": 1.25, "beta_fast": 6, "beta_slow": 0.25},
    ),
    (Yarn(factor=2.0, original=7), {"factor": 2.0, ORIGINAL: 7}),
    (
        Llama3(factor=8.0, low=1.0, high=4.0, original=30),
        {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, ORIGINAL: 30},
    ),
    (
        LongRope(short=SHORT, long=LONG, original=20, factor=2.0),
        {"factor": 2.0, "short_factor": list(SHORT), "long_factor": list(LONG), ORIGINAL: 20},
    ),
    (
        LongRope(short=SHORT, long=LONG, original=20, factor=0.5, attention=1.5),
        {"factor": 0.5, "short_factor": list(SHORT), "long_factor": list(LONG), ORIGINAL: 20, "attention_factor": 1.5},
    ),
]


@pytest.mark.parametrize("base", [10000.0, 50.0])
@pytest.mark.parametrize("length", [5, 20, 21, 40, 41, 77])
@pytest.mark.parametrize("law, theirs", CASES, ids=lambda c: c.kind if isinstance(c, Scaling) else "")
def test_frequencies_are_theirs(law, theirs, length, base):
    config = hf.LlamaConfig(
        hidden_size=36,
        num_attention_heads=3,
        max_position_embeddings=40,
        rope_parameters={"rope_type": law.kind, "rope_theta": base} | theirs,
    )
    want, size = ROPE_INIT_FUNCTIONS[law.kind](config, None, seq_len=torch.tensor(length))
    at = Layout.of(torch.tensor([2, length]))
    exact = Rotary(base=base, scaling=law).build(SITE).frequencies(at)
    torch.testing.assert_close(exact, want.double(), rtol=2e-6, atol=0)
    rounded = Rotary(base=base, scaling=law, rounded=True).build(SITE).frequencies(at)
    torch.testing.assert_close(rounded, want.double(), rtol=0, atol=0)
    assert law.amplitude() == pytest.approx(size)


@pytest.mark.parametrize("law", [law for law, _ in CASES])
def test_rotations_have_these_frequencies_and_this_size(law):
    module, q = Rotary(scaling=law).build(SITE), torch.randn(7, 2, 12, dtype=torch.float64)
    at = Layout.of(torch.tensor([7]))
    turned, w = module.rotate(q, at, Context()), module.frequencies(at)
    for t in range(7):
        for i in range(6):
            pair, turn = complex(q[t, 1, i], q[t, 1, i + 6]), float(w[i]) * t
            pair *= law.amplitude() * complex(math.cos(turn), math.sin(turn))
            assert abs(pair - complex(turned[t, 1, i], turned[t, 1, i + 6])) < 1e-12


def test_what_the_papers_say():
    w = Rotary().build(SITE).frequencies(Layout.of(torch.tensor([1])))

    def scaled(law, longest=5):
        return law.frequencies(1 / w, 10000.0, longest)

    close = torch.testing.assert_close
    close(scaled(Dynamic(original=40), 40), w)
    close(scaled(Dynamic(original=40), 3), w)
    assert (scaled(Dynamic(original=40), 41)[1:] < w[1:]).all()
    kept = scaled(Yarn(factor=4.0, original=2048))
    close(kept[0], w[0], msg="fast pairs are kept")
    close(kept[-1], w[-1] / 4, msg="slow ones are interpolated")
    kept, turns = scaled(Llama3()), 8192 * w / (2 * math.pi)
    close(kept[turns > 4], w[turns > 4])
    close(kept[turns < 1], w[turns < 1] / 8)
    law = LongRope(short=SHORT, long=LONG, original=100, factor=4.0)
    close(scaled(law, 100), w / torch.tensor(SHORT, dtype=w.dtype))
    close(scaled(law, 101), w / torch.tensor(LONG, dtype=w.dtype))
    assert law.amplitude() == math.sqrt(1 + math.log(4) / math.log(100))


@pytest.mark.parametrize("law", [law for law, _ in CASES])
def test_laws_are_values(law):
    spec = Rotary(scaling=law)
    assert Rotary.parse(json.loads(json.dumps(spec.to_dict()))) == spec == pickle.loads(pickle.dumps(spec))
    assert Rotary(scaling={law.kind: law.model_dump()}) == spec and hash(spec)


def test_refusals():
    narrow = Site("position", 4, 2, 2, 2)
    with pytest.raises(Refused, match="position: dynamic scaling needs at least 2 pairs to turn, found 1"):
        Rotary(scaling=Dynamic()).build(narrow)
    with pytest.raises(Refused, match="longrope needs a divisor for each of 6 pairs, found 2 in long"):
        Rotary(scaling=LongRope(short=SHORT, long=(1.0, 2.0))).build(SITE)
    with pytest.raises(Refused, match=r"llama3 scaling needs low below high, found 4\.0 and 4\.0"):
        Rotary(scaling=Llama3(low=4.0)).build(SITE)
    with pytest.raises(SpecError, match="there is no scaling called 'yarm'; did you mean 'yarn'"):
        Rotary(scaling="yarm")
