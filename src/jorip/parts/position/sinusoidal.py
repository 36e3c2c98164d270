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
        self.table: Tensor | None = None  # follows from base and width: no buffer, never saved

    def embed(self, x, at):
        return x + self.rows(int(at.positions.max()) + 1 if len(at.positions) else 0, x)[at.positions]

    def rows(self, length: int, x: Tensor) -> Tensor:
        """(at least length, width) in the dtype of x; kept, and made anew when a longer one is needed."""
        t = self.table
        if t is None or len(t) < length or t.dtype != x.dtype or t.device != x.device or t.shape[1] != x.shape[-1]:
            longer = max(length, 2 * len(t) if t is not None else 64)
            self.table = t = sinusoids(longer, x.shape[-1], self.base, x.device).to(x.dtype)
        return t


def sinusoids(length: int, width: int, base: float, device=None) -> Tensor:
    """(length, width) float64: interleaved sine and cosine; computed exactly, cast by the caller."""
    i = torch.arange(0, width, 2, dtype=torch.float64, device=device)
    angle = torch.arange(length, dtype=torch.float64, device=device)[:, None] * base ** (-i / width)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]
