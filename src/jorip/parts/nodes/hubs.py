"""Hubs: a few trainable virtual rows in front of every sequence (A1.1, external nodes; Star-Transformer, ETC)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from jorip.core.errors import Refused
from jorip.core.layout import Layout, Rows
from jorip.core.site import Site
from jorip.parts.nodes.base import Nodes, NodesModule, extended


class Hubs(Nodes):
    """count: of them; start: what enters the first layer: "learnt" rows, the same for every sequence, or "mean": the
    mean of the sequence's rows is added, as the Star-Transformer's relay starts. They have no position; position
    encodings that rotate leave them as they are, biases of scores are not for them.

    Refused in a causal stack: a hub reads all rows, and whoever reads it would see what comes later.
    """

    count: int = Field(default=1, gt=0, le=2**16)
    start: Literal["learnt", "mean"] = "learnt"

    def check(self, site: Site) -> None:
        if site.causal:
            raise Refused(
                f"{site.path}: hubs cannot be in a causal stack: they read all rows, so whoever reads them would see "
                "what comes later: use local, or sparse with global rows of the sequence itself"
            )

    def inside(self, site: Site) -> Site:
        return replace(super().inside(site), hubs=self.count)

    def rows(self, length: int, causal: bool) -> int:
        return length + self.count

    def build(self, site: Site) -> HubRows:
        self.check(site)
        return HubRows(self.count, site.d_model, self.start == "mean")

    @classmethod
    def examples(cls):
        return (cls(), cls(count=3, start="mean"))


class HubRows(NodesModule):
    role = "embedding"

    def __init__(self, count: int, width: int, mean: bool):
        super().__init__()
        self.mean = mean
        self.weight = nn.Parameter(torch.zeros(count, width))

    def extra_repr(self) -> str:
        return f"count={len(self.weight)}, mean={self.mean}"

    def layout(self, at: Layout) -> tuple[Layout, Tensor]:
        own = torch.arange(len(at.order), device=at.order.device) + len(self.weight) * (at.sample + 1)
        return extended(at, at.lengths + len(self.weight), None, own), own

    def fill(self, x: Rows, at: Layout, own: Tensor) -> Tensor:
        batch, count = x.at.batch, len(self.weight)
        hubs = self.weight.to(x.x.dtype).expand(batch, -1, -1)
        if self.mean:
            total = x.x.new_zeros(batch, x.x.shape[1]).index_add(0, x.at.sample, x.x)
            hubs = hubs + (total / x.at.lengths.clamp(min=1)[:, None].to(total.dtype))[:, None]
        order = torch.empty_like(at.order)  # the row of [ordinary rows, hubs] that comes to each place
        order[own] = torch.arange(len(own), device=own.device)
        order[at.order < count] = torch.arange(batch * count, device=own.device) + len(own)
        return torch.cat([x.x, hubs.flatten(0, 1)]).index_select(0, order)

    def places(self, order: Tensor) -> Tensor:
        return order + len(self.weight)

    def strangers(self, at) -> Tensor:
        return at.grid_order < len(self.weight)
