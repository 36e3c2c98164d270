"""Learned positions (P1.2): one embedding per position (Gehring et al. 2017, 1705.03122; BERT; GPT)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from jorip.core.errors import DataError, Refused
from jorip.core.site import Site
from jorip.parts.position.base import Position, PositionModule


class Learned(Position):
    """Needs the architecture's `max_len`; a longer input is an error, never wrapped or clipped. offset: rows of the
    table before position 0 (2 in RoBERTa and BART, whose tables leave room for padding)."""

    ids = ("P1.2",)
    offset: int = Field(default=0, ge=0, le=1024)

    def check(self, site: Site) -> None:
        if site.max_len is None:
            raise Refused(f"{site.path}: learned positions need max_len on the architecture")

    def build(self, site: Site) -> LearnedPosition:
        self.check(site)
        assert site.max_len is not None
        return LearnedPosition(site.max_len, site.d_model, self.offset)

    @classmethod
    def examples(cls):
        return (cls(), cls(offset=2))


class LearnedPosition(PositionModule):
    role = "embedding"

    def __init__(self, max_len: int, width: int, offset: int = 0):
        super().__init__()
        self.max_len, self.offset = max_len, offset
        self.weight = nn.Parameter(torch.zeros(max_len + offset, width))

    def embed(self, x, at):
        longest = int(at.positions.max()) + 1 if len(at.positions) else 0
        if longest > self.max_len:
            raise DataError(
                f"a sequence of {longest} tokens is longer than max_len={self.max_len} learned positions: "
                "truncate it, or build the model with a larger max_len"
            )
        return x + F.embedding(at.positions + self.offset, self.weight)  # its backward is faster than an index's
