"""Rotary positions (P3.2, RoPE): pairs of q and k turn by t * w_i, so that scores depend on offsets only
(survey Eq 35-38; Su et al. 2021, 2104.09864)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from jorip.core.errors import Refused
from jorip.core.layout import Layout
from jorip.core.site import Site
from jorip.parts.position.base import Position, PositionModule
from jorip.parts.position.scaling import Dynamic, Linear, Llama3, LongRope, Scaling, Yarn


class Rotary(Position):
    """base: w_i = base^(-2i/d). pairs: which dimensions turn together: "half" (i, i + d/2) as in Llama checkpoints, or
    "interleaved" (2i, 2i + 1) as in the paper. fraction: of each head's dimensions that turn (GPT-J: 0.25). scaling:
    how the w_i change for sequences longer than those of the training, None = not. rounded: the w_i are computed in
    float32, as for the checkpoints of Llama and its relatives, where they are wrong by 1e-7 of themselves."""

    ids = ("P3.2",)
    base: float = 10000.0
    pairs: Literal["half", "interleaved"] = "half"
    fraction: float = 1.0
    scaling: Scaling | None = None
    rounded: bool = False

    def check(self, site: Site) -> None:
        if int(site.head_dim * self.fraction) % 2 or int(site.head_dim * self.fraction) < 2:
            raise Refused(
                f"{site.path}: rotary turns pairs, so head_dim * fraction must be even, "
                f"found {site.head_dim} * {self.fraction}"
            )
        if self.scaling is not None:
            self.scaling.check(site, int(site.head_dim * self.fraction) // 2)

    def build(self, site: Site) -> RotaryPosition:
        self.check(site)
        dim = int(site.head_dim * self.fraction)
        return RotaryPosition(self.base, self.pairs == "interleaved", dim, self.scaling, self.rounded)

    @classmethod
    def examples(cls):
        scalings = (Linear(), Dynamic(), Yarn(original=4), Llama3(original=8), LongRope(short=(1.5, 2), long=(2, 4)))
        return (cls(), cls(pairs="interleaved"), cls(fraction=0.5), *(cls(scaling=s, rounded=True) for s in scalings))


class RotaryPosition(PositionModule):
    def __init__(self, base: float, interleaved: bool, dim: int, scaling: Scaling | None = None, rounded: bool = False):
        super().__init__()
        self.base, self.interleaved, self.dim = base, interleaved, dim
        self.scaling, self.rounded = scaling, rounded

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
            w, size = self.frequencies(at), 1.0 if self.scaling is None else self.scaling.amplitude()
            angle = (at.positions[:, None].double() * w)[:, None]  # float32 angles are wrong by 1e-3 at position 10^4
            cos, sin = (angle.cos() * size).to(q.dtype), (angle.sin() * size).to(q.dtype)
            ctx.shared[name] = cos, sin, at  # kept, so that its id stays its own
        return ctx.shared[name][:2]

    def frequencies(self, at: Layout) -> Tensor:
        """(dim/2,) float64: radians per position."""
        # float32 on the CPU: the processors' powers differ
        dtype, device = (torch.float32, "cpu") if self.rounded else (torch.float64, at.positions.device)
        span = self.base ** (torch.arange(0, self.dim, 2, dtype=dtype, device=device) / self.dim)
        if self.scaling is None:
            w = 1 / span
        else:
            longest = int(at.positions.max()) + 1 if self.scaling.by_length and len(at.positions) else 0
            w = self.scaling.frequencies(span, self.base, longest)
        return w.to(at.positions.device, torch.float64)
