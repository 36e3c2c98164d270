"""Learned positions (P1.2): one embedding per position (Gehring et al. 2017, 1705.03122; BERT; GPT)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from jorip.core.errors import DataError, Refused
from jorip.core.site import Site
from jorip.parts.position.base import Position, PositionModule


class Learned(Position):
    """Needs the architecture's `max_len`; a longer input is an error, never wrapped or clipped."""

    ids = ("P1.2",)

    def check(self, site: Site) -> None:
        if site.max_len is None:
            raise Refused(f"{site.path}: learned positions need max_len on the architecture")

    def build(self, site: Site) -> LearnedPosition:
        self.check(site)
        assert site.max_len is not None
        return LearnedPosition(site.max_len, site.d_model)


class LearnedPosition(PositionModule):
    role = "embedding"

    def __init__(self, max_len: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(max_len, width))

    def embed(self, x, at):
        longest = int(at.positions.max()) + 1 if len(at.positions) else 0
        if longest > len(self.weight):
            raise DataError(
                f"a sequence of {longest} tokens is longer than max_len={len(self.weight)} learned positions: "
                "truncate it, or build the model with a larger max_len"
            )
        return x + F.embedding(at.positions, self.weight)  # its backward is faster than an index's
