"""Experts (F2.3, Switch): y = p_e(x) E_e(x), with e the one expert that a router chose for the row x (Fedus et al.
2021, 2101.03961, Eq 1-2).

Each expert is a dense feed-forward without biases; all are held in one tensor, and the rows that chose the same one
go through it together. A row that finds its expert full gets zeros: the residual alone carries it on.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.layout import Rows
from jorip.core.random import drop_scale
from jorip.core.site import Site
from jorip.ops.dropout import Dropout
from jorip.parts.feedforward.base import Activation, FeedForward, activate, keeps
from jorip.parts.feedforward.router import Router, Routes, TopOne, small_normal


class Experts(FeedForward):
    """n_experts of width d_ff (None = 4 * d_model) each; router: who chooses, how many rows an expert takes, and the
    auxiliary losses; dropout: inside the experts, where the paper's fine-tuning has 0.4 beside 0.1 elsewhere.

    Where capacity binds, a row depends on how many rows before it chose its expert, and decoding step by step is not
    the full pass: `TopOne(capacity_factor=None)` has neither."""

    ids = ("F2.3",)
    n_experts: int = Field(default=8, gt=0, le=2**16)
    d_ff: int | None = Field(default=None, gt=0)
    activation: Activation = "relu"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    router: Router = TopOne()

    def width(self, site: Site) -> int:
        return self.d_ff or 4 * site.d_model

    def build(self, site: Site) -> ExpertsFeedForward:
        router = self.router.build(site.at("router"), self.n_experts)
        up = ExpertMaps(self.n_experts, site.d_model, self.width(site))
        down = ExpertMaps(self.n_experts, self.width(site), site.d_model)
        experts = nn.ModuleDict({"up": up, "down": down})
        drop = Dropout(self.dropout, f"{site.path}.hidden")
        return ExpertsFeedForward(router, experts, self.activation, drop, site.path)

    def cost(self, site: Site, shape: Shape) -> Cost:
        """As if every row found its expert free: capacity only lowers it."""
        rows, hidden, outside = shape.rows, shape.rows * self.width(site), shape.rows * site.d_model
        jitter = isinstance(self.router, TopOne) and self.router.jitter > 0
        kept = keeps(self.activation, self.dropout)
        return Cost(
            linear=rows * site.d_model * (2 * self.width(site) + self.n_experts),
            # the router's rows (jittered: with the factors), gathered rows, results before and after their weights
            activations=(5 if jitter else 4) * outside + kept * hidden + rows * (self.n_experts + 5),
            sequential=2,
            work=outside + 2 * hidden + rows * self.n_experts,
            back=3 * outside + 2 * hidden,
        )

    @classmethod
    def examples(cls):
        """Capacity is whatever comes: rows must not depend on their neighbours in the contracts."""
        return (
            cls(n_experts=3, router=TopOne(capacity_factor=None)),
            cls(n_experts=2, d_ff=5, activation="gelu", dropout=0.1, router=TopOne(capacity_factor=2.0, bias=True)),
            cls(n_experts=4, router=TopOne(capacity=100, z=1e-3)),
        )


class ExpertMaps(nn.Module):
    """One linear map per expert: weight (experts, out, in)."""

    def __init__(self, n_experts: int, d_in: int, d_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_experts, d_out, d_in))

    def reset_own(self, name: str, p: Tensor, generator: torch.Generator) -> None:
        small_normal(p, p.shape[-1], generator)

    def forward(self, x: Tensor, counts: list[int]) -> Tensor:
        """x (rows, in), the rows of each expert one after the other, `counts` of them -> (rows, out)."""
        parts = [part @ w.mT for part, w in zip(x.split(counts), self.weight) if len(part)]
        return torch.cat(parts) if parts else x @ self.weight[0].mT


class ExpertsFeedForward(nn.Module):
    """experts: `up` and `down`, each an `ExpertMaps`."""

    def __init__(self, router: nn.Module, experts: nn.ModuleDict, activation: Activation, dropout: Dropout, path: str):
        super().__init__()
        self.router, self.experts, self.n_experts = router, experts, len(experts.get_parameter("up.weight"))
        self.activation: Activation = activation
        self.dropout, self.path = dropout, path

    def forward(self, x: Rows, ctx: Context) -> Tensor:
        routes: Routes = self.router(x, ctx)
        ctx.notes |= {(self.path, name): value for name, value in routes.notes.items()}
        up, down = self.experts["up"], self.experts["down"]
        index = routes.kept.nonzero()[:, 0]
        index = index[routes.expert[index].argsort(stable=True)]  # by expert
        counts = routes.expert[index].bincount(minlength=self.n_experts).tolist()
        h = self.drop(activate(self.activation, up(x.x[index], counts)), index, x, ctx)
        y = down(h, counts) * routes.weight[index, None]
        return y.new_zeros(x.x.shape[0], y.shape[1]).index_copy(0, index, y)

    def drop(self, h: Tensor, index: Tensor, x: Rows, ctx: Context) -> Tensor:
        """Dropout of the rows `index`, each by its own key wherever it stands."""
        if not self.training or self.dropout.p == 0 or ctx.key is None:
            return h
        keys = ctx.row_keys(x.at)[index]
        return h * drop_scale(keys, h.shape[1], self.dropout.number(ctx), self.dropout.p, h.dtype)
