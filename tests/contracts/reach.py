"""How many layers a signal needs: where the Jacobian of each layer is not zero, multiplied as yes and no."""

from __future__ import annotations

import torch
from torch import Tensor

from jorip.core.cost import Shape
from jorip.core.layout import Layout, Rows
from jorip.core.spec import flatten
from jorip.parts.mixer.base import Mixer
from tests.contracts.zoo import build, context, site

_DRAWS = 4


def feels(spec: Mixer, causal: bool, length: int, index: int) -> Tensor:
    """(length, length) bool: whether row i of the output of layer `index`, its residual connection included, depends
    on row j of its input. Several draws, since features may be zero by chance."""
    at = site(causal, index=index, n_layers=64, max_len=length)
    module = build(spec, at)
    x = torch.randn(_DRAWS * length, at.d_model, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ctx, rows = context(at), Layout.of(torch.tensor([length] * _DRAWS))

    def mix(v: Tensor) -> Tensor:
        y = module(Rows(v, rows), {}, ctx)[0]
        return (y @ torch.linspace(0.5, 1.5, y.shape[1], dtype=y.dtype)).view(_DRAWS, length).sum(0)

    slopes = torch.autograd.functional.jacobian(mix, x)
    felt = (slopes != 0).any(-1).view(length, _DRAWS, length).any(1)
    return felt | torch.eye(length, dtype=torch.bool)


def layers_needed(spec: Mixer, causal: bool, length: int) -> int:
    """Layers until every row feels every row that it can ever feel, at least one. Layers that are all alike tell by
    themselves what that is; of others (dilations that grow) it is every row, or every earlier one."""
    first, second = feels(spec, causal, length, 0), feels(spec, causal, length, 1)
    alike = torch.equal(first, second)
    goal = torch.ones(length, length, dtype=torch.bool)
    goal = goal.tril() if causal else goal
    if alike:
        goal = torch.linalg.matrix_power(first.double() / length, length) > 0
    reached, count = first, 1
    while not torch.equal(reached, goal):
        step = first if alike else feels(spec, causal, length, count)
        reached, count = (step.double() @ reached.double()) > 0, count + 1
        assert count <= 2 * length, "it never gets there"
    return count


def draws_links(spec: Mixer) -> bool:
    """Whether some of its links are random: their path is promised as if there were none, or for one graph of many."""
    fields = flatten(spec)
    return any(p.rpartition(".")[2] == "random" and n for p, n in fields.items()) or "random" in fields.values()


def promised(spec: Mixer, causal: bool, length: int) -> tuple[int, int]:
    """The hops that `path` promises, and the steps of one layer (a recurrence takes many, all others one)."""
    cost = spec.cost(site(causal, max_len=length), Shape(1, length))
    return cost.path, cost.sequential
