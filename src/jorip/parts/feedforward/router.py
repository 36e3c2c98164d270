"""Routers: which expert each row goes to, and which rows find it full.

The probabilities are a softmax in float32 or better, whatever the model's dtype: rounding them to bfloat16 makes
training unstable (Fedus et al. 2021, 2101.03961, 2.4).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.layout import Layout, Rows
from jorip.core.random import mix_ints, salt, uniform_bits
from jorip.core.site import Site
from jorip.core.spec import Spec


class Routes(NamedTuple):
    """expert (rows,) int64 and weight (rows,), by which its output is multiplied; kept (rows,) bool: False where the
    expert is full; losses and statistics by name, 0-d unless they say otherwise."""

    expert: Tensor
    weight: Tensor
    kept: Tensor
    notes: dict[str, Tensor]


class Router(Spec, family=True, package="jorip.parts.feedforward"):
    """Family of routers."""

    def build(self, site: Site, n_experts: int) -> nn.Module:
        """A module: forward(Rows, ctx) -> Routes."""
        raise TypeError(f"{self.kind} cannot be built")


class TopOne(Router, name="top_one"):
    """Each row goes to its likeliest expert (Switch). An expert takes so many rows of one sequence, the earlier first:
    `capacity`, or where that is None ceil(capacity_factor * rows / experts), or all where both are None. Rows count
    within one call: a sequence that is fed step by step is never crowded.

    balance and z: coefficients of the two auxiliary losses. balance: experts * sum_i f_i P_i, with f_i the share of
    rows that choose expert i and P_i its mean probability (Eq 4, 1e-2 as in the paper); it couples the rows of a
    micro-batch. z: mean of logsumexp(logits)^2 (2202.08906, 1e-3 there). jitter: in training the router reads
    x * U(1 - jitter, 1 + jitter). bias: of the logits."""

    capacity_factor: float | None = Field(default=1.25, gt=0, le=2**16)
    capacity: int | None = Field(default=None, ge=0, le=2**40)
    balance: float = Field(default=0.01, ge=0)
    z: float = Field(default=0.0, ge=0)
    jitter: float = Field(default=0.01, ge=0, lt=1)
    bias: bool = False

    def build(self, site: Site, n_experts: int) -> TopOneRouter:
        return TopOneRouter(site.d_model, n_experts, self, site.path)


class TopOneRouter(nn.Module):
    couples = ("balance_loss",)  # not a mean over rows: how a batch is cut into micro-batches changes it

    def __init__(self, width: int, n_experts: int, how: TopOne, path: str):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_experts, width))
        self.bias = nn.Parameter(torch.zeros(n_experts)) if how.bias else None
        self.how, self.salt = how, salt(f"{path}.jitter")

    def reset_own(self, name: str, p: Tensor, generator: torch.Generator) -> None:
        small_normal(p, p.shape[-1], generator) if name == "weight" else nn.init.zeros_(p)

    def forward(self, x: Rows, ctx: Context) -> Routes:
        logits = self.logits(x, ctx)
        probs = logits.softmax(-1)
        weight, expert = probs.max(-1)
        kept = self.place(expert, x.at) < self.limits(x.at)[x.at.sample]
        load = torch.nn.functional.one_hot(expert, probs.shape[1]).to(probs.dtype)
        notes = {
            "load": mean(load).detach(),  # (experts,)
            "dropped": 1 - mean(kept.to(probs.dtype)),
        }
        if self.how.balance:
            notes["balance_loss"] = self.how.balance * probs.shape[1] * (mean(load) * mean(probs)).sum()
        if self.how.z:
            notes["z_loss"] = self.how.z * mean(logits.logsumexp(-1).square())
        return Routes(expert, weight.to(x.x.dtype), kept, notes)

    def logits(self, x: Rows, ctx: Context) -> Tensor:
        """(rows, experts) in float32 or better, also under autocast."""
        dtype = torch.promote_types(x.x.dtype, torch.float32)
        with torch.autocast(x.x.device.type, enabled=False):
            h = x.x.to(dtype)
            if self.training and self.how.jitter and ctx.key is not None:
                number = mix_ints(ctx.key.seed, ctx.key.step, self.salt)
                h = h * (1 + uniform_bits(ctx.row_keys(x.at), h.shape[1], number).to(dtype) * (self.how.jitter / 2**31))
            bias = None if self.bias is None else self.bias.to(dtype)
            return torch.nn.functional.linear(h, self.weight.to(dtype), bias)

    def place(self, expert: Tensor, at: Layout) -> Tensor:
        """(rows,): how many earlier rows of the same sequence chose the same expert."""
        group = at.sample * len(self.weight) + expert
        order = group.argsort(stable=True)
        ranks, ordered = torch.arange(len(group), device=group.device), group[order]
        first = torch.searchsorted(ordered, ordered)  # of each group, among the ordered
        return torch.empty_like(group).index_copy_(0, order, ranks - first)

    def limits(self, at: Layout) -> Tensor:
        """(batch,): rows of each sequence that one expert takes."""
        if self.how.capacity is not None:
            return torch.full_like(at.lengths, self.how.capacity)
        if self.how.capacity_factor is None:
            return at.lengths
        share = at.lengths.double() * (self.how.capacity_factor / len(self.weight))
        return (share - 1e-9).ceil().long()  # 11 experts that take 1.1 * 10 / 11 rows take one


def mean(x: Tensor) -> Tensor:
    """Over the rows; of none, zero."""
    return x.sum(0) / max(len(x), 1)


def small_normal(p: Tensor, fan_in: int, generator: torch.Generator) -> None:
    """N(0, 0.1 / fan_in), cut at two deviations: a tenth of the usual variance keeps sparse models stable (Fedus et al.
    2021, 2.4)."""
    exact = torch.empty_like(p, dtype=torch.promote_types(p.dtype, torch.float32))
    std = (0.1 / fan_in) ** 0.5
    p.copy_(nn.init.trunc_normal_(exact, std=std, a=-2 * std, b=2 * std, generator=generator))
