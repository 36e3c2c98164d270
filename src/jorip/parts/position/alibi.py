"""ALiBi, attention with linear biases: softmax(Q K^T / sqrt(d) + B), B[h, i, j] = -m_h |i - j|, nothing learnt
(Press et al. 2022, 2108.12409, beyond survey 5.1.2).

A model reads longer inputs than it was trained on: farther keys weigh less, whatever the length.
"""

from __future__ import annotations

import torch
from pydantic import Field

from jorip.core.site import Site
from jorip.parts.position.base import Position, PositionModule


class Alibi(Position):
    """exponent: slopes fall geometrically to 2^-exponent, 8 as in the paper (MPT's `alibi_bias_max`). A stack that sees
    both ways has the same bias on either side. Needs a mechanism with a softmax over scores: others refuse it."""

    exponent: float = Field(default=8.0, gt=0, le=64)

    def build(self, site: Site) -> AlibiPosition:
        return AlibiPosition(slopes(site.n_heads, self.exponent))

    @classmethod
    def examples(cls):
        return (cls(), cls(exponent=4.0))


class AlibiPosition(PositionModule):
    """slopes: of each head."""

    def __init__(self, slopes: tuple[float, ...]):
        super().__init__()
        self.slopes = slopes  # follow from the number of heads: no buffer, never saved, never rounded to bf16

    def extra_repr(self) -> str:
        return f"heads={len(self.slopes)}"

    def bias(self, q_at, k_at, ctx):
        q, k = q_at.grid_order.float(), k_at.grid_order.float()
        slopes = torch.tensor(self.slopes, device=q.device, dtype=torch.float32)
        return (k[:, None, None, :] - q[:, None, :, None]).abs_() * -slopes[:, None, None]


def slopes(heads: int, exponent: float = 8.0) -> tuple[float, ...]:
    """m_h = 2^(-exponent h / heads), h = 1 .. heads, where heads is a power of two; else those of the power below,
    then every other one of the power above, from its first, as the paper's own code fills up."""
    below = 1 << heads.bit_length() - 1
    first = [2 ** (-exponent * h / below) for h in range(1, below + 1)]
    between = [2 ** (-exponent * (h - 0.5) / below) for h in range(1, heads - below + 1)]
    return (*first, *between)
