"""Sinusoidal positions (P1.1): PE(t)_2i = sin(t w_i), PE(t)_2i+1 = cos(t w_i), w_i = base^(-2i/D) (survey Eq 28;
Vaswani et al. 2017, 1706.03762). Any length; nothing is learned."""

from __future__ import annotations

import torch
from torch import Tensor

from jorip.core.site import Site
from jorip.parts.position.base import Position, PositionModule


class Sinusoidal(Position):
    """base: longest wavelength over 2 pi."""

    ids = ("P1.1",)
    base: float = 10000.0

    def build(self, site: Site) -> SinusoidalPosition:
        return SinusoidalPosition(self.base)


class SinusoidalPosition(PositionModule):
    def __init__(self, base: float):
        super().__init__()
        self.base = base

    def embed(self, x, at):
        table = sinusoids(int(at.positions.max()) + 1 if len(at.positions) else 0, x.shape[-1], self.base, x.device)
        return x + table.to(x.dtype)[at.positions]


def sinusoids(length: int, width: int, base: float, device=None) -> Tensor:
    """(length, width) float64: interleaved sine and cosine; computed exactly, cast by the caller."""
    i = torch.arange(0, width, 2, dtype=torch.float64, device=device)
    angle = torch.arange(length, dtype=torch.float64, device=device)[:, None] * base ** (-i / width)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]
