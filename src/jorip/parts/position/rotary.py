"""Rotary positions (P3.2, RoPE): pairs of q and k turn by t * w_i, so that scores depend on offsets only
(survey Eq 35-38; Su et al. 2021, 2104.09864)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from jorip.core.errors import Refused
from jorip.core.site import Site
from jorip.parts.position.base import Position, PositionModule


class Rotary(Position):
    """base: w_i = base^(-2i/d). pairs: which dimensions turn together: "half" (i, i + d/2) as in Llama checkpoints, or
    "interleaved" (2i, 2i + 1) as in the paper. fraction: of each head's dimensions that turn (GPT-J: 0.25)."""

    ids = ("P3.2",)
    base: float = 10000.0
    pairs: Literal["half", "interleaved"] = "half"
    fraction: float = 1.0

    def check(self, site: Site) -> None:
        if int(site.head_dim * self.fraction) % 2 or int(site.head_dim * self.fraction) < 2:
            raise Refused(
                f"{site.path}: rotary turns pairs, so head_dim * fraction must be even, "
                f"found {site.head_dim} * {self.fraction}"
            )

    def build(self, site: Site) -> RotaryPosition:
        self.check(site)
        return RotaryPosition(self.base, self.pairs == "interleaved", int(site.head_dim * self.fraction))

    @classmethod
    def examples(cls):
        return (cls(), cls(pairs="interleaved"), cls(fraction=0.5))


class RotaryPosition(PositionModule):
    def __init__(self, base: float, interleaved: bool, dim: int):
        super().__init__()
        self.base, self.interleaved, self.dim = base, interleaved, dim

    def rotate(self, q, at, ctx):
        cos, sin = self.table(q, at, ctx)
        turned, rest = q[..., : self.dim], q[..., self.dim :]
        if self.interleaved:
            a, b = turned[..., 0::2], turned[..., 1::2]
            turned = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
        else:
            a, b = turned.chunk(2, -1)
            turned = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
        return torch.cat([turned, rest], -1) if rest.shape[-1] else turned

    def table(self, q: Tensor, at, ctx) -> tuple[Tensor, Tensor]:
        """cos and sin, each (rows, 1, dim/2); made once per stack."""
        name = ("rotary", id(at), q.dtype)
        if name not in ctx.shared:
            w = self.base ** (-torch.arange(0, self.dim, 2, dtype=torch.float64, device=q.device) / self.dim)
            angle = (at.positions[:, None].double() * w)[:, None]  # float32 angles are wrong by 1e-3 at position 10^4
            ctx.shared[name] = (
                angle.cos().to(q.dtype),
                angle.sin().to(q.dtype),
                at,
            )  # kept, so that its id stays its own
        return ctx.shared[name][:2]
