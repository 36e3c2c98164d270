"""Convolution along the sequence (survey Table 2: O(K T D^2) per layer, 1 sequential operation).

y_i = b + sum_k W_k x_(i + (k - K + 1) r)              causal: K taps ending at i
y_i = b + sum_k W_k x_(i + (k - (K - 1) / 2) r)        otherwise: K taps centred on i (Gehring et al. 2017, 1705.03122)

The survey's path length log_K(T) needs dilations r that grow from layer to layer (van den Oord et al. 2016,
1609.03499); contiguous kernels need about T / K layers (Vaswani et al. 2017, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import Refused
from jorip.core.init import Linear
from jorip.core.layout import Layout, Rows
from jorip.core.site import Site
from jorip.core.state import State
from jorip.parts.mixer.base import Carry, Mixer, MixerModule


class Convolution(Mixer):
    """kernel: taps, odd where the site is not causal; dilation: rows between taps, "double" = 2^layer, so that the
    reach grows geometrically; bias: one number per output channel."""

    kernel: int = Field(default=3, ge=2)
    dilation: Annotated[int, Field(ge=1)] | Literal["double"] = 1
    bias: bool = True

    def check(self, site: Site) -> None:
        if site.cross:
            raise Refused(f"{site.path}: convolution cannot read a memory: it mixes one sequence")
        if not site.causal and self.kernel % 2 == 0:
            raise Refused(
                f"{site.path}: a convolution that is not causal is centred on its row, so kernel must be odd, "
                f"found {self.kernel}"
            )

    def step(self, site: Site) -> int:
        """Rows between taps in this layer."""
        return 2**site.index if self.dilation == "double" else self.dilation

    def build(self, site: Site) -> ConvolutionMixer:
        self.check(site)
        return ConvolutionMixer(site.path, site.d_model, self.kernel, self.step(site), site.causal, self.bias)

    def cost(self, site: Site, shape: Shape) -> Cost:
        reach = (self.kernel - 1) * self.step(site)
        return Cost(
            linear=shape.rows * self.kernel * site.d_model**2,
            activations=shape.rows * self.kernel * site.d_model,
            state=shape.batch * reach * site.d_model if site.causal else 0,
            sequential=1,
            path=self.layers_to_span(shape.length, site.causal),
            work=(shape.rows * (self.kernel + 2) + shape.batch * reach) * site.d_model,
            back=(shape.rows * (self.kernel + 2) + shape.batch * reach) * site.d_model,
        )

    def layers_to_span(self, length: int, causal: bool) -> int:
        """Layers until the first row can reach the last: ceil((T-1)/(K-1)) causal and twice that centred; with doubling
        dilations ceil(log2(that + 1)). A fixed dilation above 1 spans as far, but only ever sees every r-th row."""
        reach = self.kernel - 1 if causal else (self.kernel - 1) // 2
        if self.dilation != "double":
            return -(-(length - 1) // (reach * self.dilation))
        return (-(-(length - 1) // reach)).bit_length()

    @classmethod
    def examples(cls) -> tuple[Convolution, ...]:
        return (cls(), cls(kernel=5, dilation=2, bias=False), cls(dilation="double"))


@dataclass
class Window(State):
    """The last (kernel - 1) * dilation rows of each sequence, right-aligned, zeros before its first:
    (batch, reach, width)."""

    rows: Tensor

    def slide(self, g: Tensor, at: Layout) -> Tensor:
        """New rows as a grid -> what stood before them and they; keeps the last rows of every sequence."""
        both = torch.cat([self.rows.to(g.dtype), g], 1)
        last = at.lengths[:, None] + torch.arange(self.rows.shape[1], device=g.device)
        self.rows = both.gather(1, last[..., None].expand(-1, -1, g.shape[-1]))
        return both


class ConvolutionMixer(MixerModule):
    """One product over the taps side by side, of real rows only, which a CPU does faster than `conv1d` and its
    transposes; what stands beyond a sequence is zero, as the grid's holes are."""

    def __init__(self, path: str, width: int, kernel: int, dilation: int, causal: bool, bias: bool):
        super().__init__()
        self.path, self.kernel, self.dilation, self.causal = path, kernel, dilation, causal
        self.taps = Linear(kernel * width, width, bias, role="out")

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, dilation={self.dilation}, causal={self.causal}"

    def forward(self, x: Rows, carry: Carry, ctx: Context, memory: Rows | None = None) -> tuple[Tensor, Carry]:
        state = ctx.part_state(self.path) if self.causal else None
        reach, g = (self.kernel - 1) * self.dilation, x.at.grid(x.x)
        if state is not None:
            g = state.slide(g, x.at)
        else:
            g = F.pad(g, (0, 0, reach, 0) if self.causal else (0, 0, reach // 2, reach // 2))
        taps = [g[:, k * self.dilation : k * self.dilation + x.at.longest] for k in range(self.kernel)]
        return self.taps(x.at.rows(torch.cat(taps, -1))), carry

    def new_state(self, batch: int, capacity: int, dtype, device=None) -> Window | None:
        if not self.causal:
            return None
        reach, width = (self.kernel - 1) * self.dilation, self.taps.out_features
        return Window(torch.zeros(batch, reach, width, dtype=dtype, device=device))
