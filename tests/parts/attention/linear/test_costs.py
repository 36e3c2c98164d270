"""What linear attention says it needs is what it needs (products: tests/contracts/test_cost)."""

import pytest
import torch

from jorip.core.cost import Shape
from jorip.core.layout import Rows
from jorip.parts.attention.base import Mechanism
from jorip.parts.mixer.multi_head import MultiHead
from tests.contracts.memory import kept, peak
from tests.contracts.zoo import build, context, rows, site

KINDS = ["linear", "performer", "rfa", "retention", "gated_linear", "delta_net", "gated_delta_net"]
SPECS = [Mechanism.parse(k) for k in KINDS] + [Mechanism.parse({"linear": {"rule": r}}) for r in ("gated", "delta")]


def near(said: float, measured: float, within: float) -> None:
    assert abs(said / measured - 1) < within, f"{said:,.0f} was said, {measured:,.0f} measured"


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_memory(spec, causal):
    """Kept for the backward within 5 %, the most at once within 26 %: pieces of chunks are counted roughly."""
    at, mixer = site(causal, d_model=64, head_dim=16, n_heads=4, n_kv_heads=4), MultiHead(mechanism=spec)
    for batch, length in ((1, 300), (1, 1500), (3, 300)):
        x = rows((length,) * batch, 64, dtype=torch.float32)
        x = Rows(x.x.requires_grad_(), x.at)
        module, said = build(mixer, at, torch.float32), mixer.cost(at, Shape(batch, length))
        run = lambda module=module, x=x: module(x, {}, context(at))[0]  # noqa: E731
        near(said.kept(4), kept(module, run)[0], 0.05)
        near(said.kept(4) + 4 * said.back, peak(lambda run=run: run().sum().backward()), 0.26)
        with torch.no_grad():
            near(4 * said.work, peak(run), 0.26)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_everything_grows_with_the_length_alone(spec):
    at = site(True, d_model=64, head_dim=16, n_heads=4, n_kv_heads=4)
    one, eight = (MultiHead(mechanism=spec).cost(at, Shape(1, 512 * n)) for n in (1, 8))
    assert eight.macs == 8 * one.macs and eight.sequential == 8 * one.sequential and eight.path == one.path == 1
    assert eight.activations <= 8 * one.activations and eight.state == one.state


def test_table():
    """Of one row and head: features x values into the state and out of it, and its chunk's pairs."""
    at = site(True, d_model=64, head_dim=16, n_heads=4, n_kv_heads=4)
    cost = Mechanism.parse({"linear": {"chunk": 128}}).cost(at, Shape(2, 1024))
    assert cost.mixing == 2 * 1024 * 4 * (2 * 16 * 17 + 128 * (16 + 17)) and cost.sequential == 8
    cost = Mechanism.parse("performer").cost(site(False, d_model=64, head_dim=16, n_heads=4, n_kv_heads=4), Shape(2, 9))
    assert (cost.mixing, cost.linear) == (2 * 9 * 4 * 2 * 256 * 17, 2 * 9 * 4 * 2 * 256 * 16) and cost.sequential == 1


@pytest.mark.parametrize("spec, rows", [
    ("linear", 128), ("performer", 128), ("gated_linear", 128), ("retention", 64), ("delta_net", 64), ("rfa", 64),
    ("gated_delta_net", 64), ({"linear": {"rule": "delta"}}, 64), ({"linear": {"rule": "delta", "chunk": 32}}, 32),
])  # fmt: skip
def test_chunks_are_as_long_as_the_rule_is_fastest_with(spec, rows):
    cost = Mechanism.parse(spec).cost(site(True, d_model=64, head_dim=16, n_heads=4, n_kv_heads=4), Shape(1, 1024))
    assert cost.sequential == 1024 // rows
