"""Fully connected mixing along a fixed length (survey Table 2, the row that Vaswani et al. 2017 do not have).

y_i = b_i + sum_j W_ij x_j,    W (T, T), the same for all channels of a group; causal: W_ij = 0 for j > i

The survey's layer connects all T D inputs with all T D outputs: T^2 D^2 weights and T^2 D^2 MACs. Here a weight joins
two *positions* only, and the channels of a group share it (W times the identity, as the token mixing of MLP-Mixer,
Tolstikhin et al. 2021, 2105.01601): groups * T^2 weights and T^2 D MACs; the channels meet in the feed-forward. With
groups = D each channel has weights of its own (T^2 D), still a factor D below the survey's. Sequential operations and
path length are 1 in both. What the survey says against such layers is seen here as it is: the length is fixed.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import DataError, Refused
from jorip.core.layout import Rows
from jorip.core.site import Site
from jorip.core.state import KeyValue
from jorip.parts.mixer.base import Carry, Mixer, MixerModule


class FullyConnected(Mixer):
    """groups: channels are split in so many groups, each with weights of its own. Needs the architecture's `max_len`;
    shorter sequences use the upper left part of W, longer ones are an error."""

    groups: int = Field(default=1, ge=1)

    def check(self, site: Site) -> None:
        if site.cross:
            raise Refused(f"{site.path}: fully_connected cannot read a memory: it mixes one sequence")
        if site.max_len is None:
            raise Refused(
                f"{site.path}: fully_connected has a weight for every pair of positions: "
                "set max_len on the architecture"
            )
        if site.d_model % self.groups:
            raise Refused(f"{site.path}: d_model must be a multiple of groups, found {site.d_model} and {self.groups}")

    def build(self, site: Site) -> FullyConnectedMixer:
        self.check(site)
        assert site.max_len is not None
        return FullyConnectedMixer(site.path, site.d_model, site.max_len, self.groups, site.causal)

    def cost(self, site: Site, shape: Shape) -> Cost:
        """The causal form computes the upper triangle's zeros too, and keeps the weights without it."""
        weights = self.groups * shape.length**2 if site.causal else 0
        return Cost(
            mixing=shape.rows * shape.length * site.d_model,
            activations=shape.rows * site.d_model + weights,
            state=shape.rows * site.d_model if site.causal else 0,
            sequential=1,
            path=1,
            work=weights + 2 * shape.rows * site.d_model,
            back=weights + 2 * shape.rows * site.d_model,
        )

    @classmethod
    def examples(cls) -> tuple[FullyConnected, ...]:
        return (cls(), cls(groups=4))


class FullyConnectedMixer(MixerModule):
    def __init__(self, path: str, width: int, max_len: int, groups: int, causal: bool):
        super().__init__()
        self.path, self.width, self.max_len, self.causal = path, width, max_len, causal
        self.weight = nn.Parameter(torch.zeros(groups, max_len, max_len))
        self.bias = nn.Parameter(torch.zeros(groups, max_len))

    def extra_repr(self) -> str:
        return f"max_len={self.max_len}, groups={len(self.weight)}, causal={self.causal}"

    def reset_own(self, name: str, p: nn.Parameter, generator: torch.Generator) -> None:
        """N(0, 1/T), zero bias: a full row keeps the variance of its inputs (the model's law is about widths)."""
        nn.init.zeros_(p) if name == "bias" else nn.init.normal_(p, std=self.max_len**-0.5, generator=generator)

    def forward(self, x: Rows, carry: Carry, ctx: Context, memory: Rows | None = None) -> tuple[Tensor, Carry]:
        at, groups = x.at, len(self.weight)
        if at.batch and int(at.total.max()) > self.max_len:
            raise DataError(
                f"{self.path}: a sequence of {int(at.total.max())} rows is longer than the max_len={self.max_len} that "
                "fully_connected was built for: truncate it, or build the model with a larger max_len"
            )
        state = ctx.part_state(self.path) if self.causal else None
        seen = at.grid(x.x) if state is None else state.append({"x": x.x[:, None]}, at)[0]["x"][:, 0]
        seen = seen.unflatten(-1, (groups, -1))  # (batch, all rows so far, groups, width / groups)
        if at.start is None:
            y = torch.einsum("gij,bjgd->bigd", self.weights(at.longest, at.longest), seen)
            y = y + self.bias[:, : at.longest].T[..., None]
        else:
            order = at.grid_order.clamp(max=self.max_len - 1)  # holes may lie beyond
            y = torch.einsum("gbij,bjgd->bigd", self.weights(self.max_len, seen.shape[1])[:, order], seen)
            y = y + self.bias[:, order].movedim(0, -1)[..., None]
        return at.rows(y.flatten(2)), carry

    def weights(self, to: int, of: int) -> Tensor:
        """(groups, to, of): the upper left part of W, lower triangular where causal."""
        w = self.weight[:, :to, :of]
        return w.tril() if self.causal else w

    def new_state(self, batch: int, capacity: int, dtype, device=None) -> KeyValue | None:
        """All rows so far: every later position weighs them anew."""
        if not self.causal:
            return None
        return KeyValue.empty(batch, min(capacity, self.max_len), {"x": (1, self.width)}, dtype, device)
