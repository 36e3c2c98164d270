"""Recurrent mixers (survey Table 2: O(T D^2) per layer, T sequential operations, path length T).

RNN:  h_t = tanh(W x_t + U h_(t-1) + b)                                        (Elman 1990, Cognitive Science 14)
LSTM: i, f, g, o = W x_t + U h_(t-1) + b;  c_t = f c_(t-1) + i g;  h_t = o tanh(c_t)     (Hochreiter & Schmidhuber 1997)

A causal site runs forwards only and can continue from a state; any other site runs in both directions, each with half
of the width, so that the parameters stay below those of one full-width direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import Refused
from jorip.core.init import Linear
from jorip.core.layout import Layout, Rows
from jorip.core.site import Site
from jorip.core.state import State
from jorip.parts.mixer.base import Carry, Mixer, MixerModule


class Recurrent(Mixer, abstract=True):
    """d_hidden: width of the hidden state, all directions together; None = d_model. Another width adds a projection
    back to d_model, which is how recurrent models of any parameter budget are made."""

    d_hidden: int | None = Field(default=None, gt=0)
    cell: ClassVar[type[nn.RNN] | type[nn.LSTM]]
    gates: ClassVar[int]  # matrices per direction, each d_width x (d_model + d_width)
    carried: ClassVar[int]  # vectors that the state holds

    def check(self, site: Site) -> None:
        if site.cross:
            raise Refused(f"{site.path}: {self.kind} cannot read a memory: a recurrence mixes one sequence")
        if not site.causal and self.width(site) % 2:
            raise Refused(
                f"{site.path}: {self.kind} runs in both directions here, with half of the width each, "
                f"so d_hidden must be even, found {self.width(site)}"
            )

    def width(self, site: Site) -> int:
        return self.d_hidden or site.d_model

    def build(self, site: Site) -> RecurrentMixer:
        self.check(site)
        return RecurrentMixer(self.cell, site.path, site.d_model, self.width(site), site.causal)

    def cost(self, site: Site, shape: Shape) -> Cost:
        """MACs: gates * D_h * (D + D_h) per row and direction, and the projection where there is one."""
        total, directions = self.width(site), 1 if site.causal else 2
        width, rows = total // directions, shape.rows
        projected = site.d_model * (total != site.d_model)
        ins, outs = rows * site.d_model, rows * total
        return Cost(
            linear=rows * (directions * self.gates * width * (site.d_model + width) + total * projected),
            activations=directions * (ins + self.kept(site.d_model, width, shape)) + (outs if projected else 0),
            state=shape.batch * width * self.carried if site.causal else 0,
            sequential=shape.length,
            path=shape.length,
            work=max(ins, outs) * (3 if directions > 1 or self.gates == 1 else 2) + rows * projected,
            back=rows * projected + ins + outs,
        )

    @classmethod
    def kept(cls, d_in: int, width: int, shape: Shape) -> int:
        """Elements that one direction keeps beside its input."""
        return shape.rows * width

    @classmethod
    def examples(cls) -> tuple[Recurrent, ...]:
        return (cls(), cls(d_hidden=6))


class Rnn(Recurrent):
    """Elman's network with tanh."""

    cell, gates, carried = nn.RNN, 1, 1


class Lstm(Recurrent):
    """Long short-term memory; the forget gate starts open (see `core/init`)."""

    cell, gates, carried = nn.LSTM, 4, 2

    @classmethod
    def kept(cls, d_in, width, shape):
        """Its output, both ends, and what oneDNN's kernel (torch's on a CPU) writes for its own backward: gates, cells,
        and for T + 1 steps and two layers three arrays as wide as the wider side and two as the hidden state."""
        states, rows = 2 * (shape.rows + shape.batch), shape.rows
        own = 3 * pages(states * leading(max(d_in, width))) + 2 * pages(states * leading(width))
        own += pages(rows * leading(4 * width)) + pages(rows * width)
        return own + rows * width + 4 * shape.batch * width


def leading(width: int) -> int:
    """oneDNN's row length for float32: whole cache lines, never a multiple of 1 KiB."""
    width = -(-width // 16) * 16
    return width + 16 if width % 256 == 0 else width


def pages(elements: int) -> int:
    """Its arrays begin on pages of 4 KiB."""
    return -(-elements // 1024) * 1024


@dataclass
class Hidden(State):
    """Each sequence's last hidden state h (batch, width) and, of an LSTM, its cell c."""

    h: Tensor
    c: Tensor | None

    def initial(self, rows: Tensor | None = None):
        """In the form that torch's modules take; rows: only these sequences."""
        h, c = (v if v is None or rows is None else v[rows] for v in (self.h, self.c))
        assert h is not None
        return h[None] if c is None else (h[None], c[None])

    def keep(self, last, rows: Tensor | None = None) -> None:
        """What torch's modules returned; rows: only these sequences went on."""
        h, c = last if isinstance(last, tuple) else (last, None)
        self.h = h[0] if rows is None else self.h.index_copy(0, rows, h[0].to(self.h.dtype))
        if c is not None and self.c is not None:
            self.c = c[0] if rows is None else self.c.index_copy(0, rows, c[0].to(self.c.dtype))


class RecurrentMixer(MixerModule):
    """cell: nn.RNN or nn.LSTM; d_hidden: of all directions together."""

    def __init__(self, cell: type[nn.RNN] | type[nn.LSTM], path: str, d_model: int, d_hidden: int, causal: bool):
        super().__init__()
        self.path, self.causal = path, causal
        width = d_hidden if causal else d_hidden // 2
        self.ahead = cell(d_model, width, batch_first=True)
        self.back = None if causal else cell(d_model, width, batch_first=True)
        self.out = Linear(d_hidden, d_model, role="out") if d_hidden != d_model else None

    def forward(self, x: Rows, carry: Carry, ctx: Context, memory: Rows | None = None) -> tuple[Tensor, Carry]:
        state = ctx.part_state(self.path) if self.causal else None
        y = run(self.ahead, x.x, x.at, state)
        if self.back is not None:  # the grid is left-aligned in both directions, so holes always come last
            y = torch.cat([y, run(self.back, x.x, x.at.backwards(), None)], -1)
        return (y if self.out is None else self.out(y)), carry

    def new_state(self, batch: int, capacity: int, dtype, device=None) -> Hidden | None:
        if not self.causal:
            return None
        h = torch.zeros(batch, self.ahead.hidden_size, dtype=dtype, device=device)
        return Hidden(h, h.clone() if isinstance(self.ahead, nn.LSTM) else None)


def run(rnn: nn.RNNBase, x: Tensor, at: Layout, state: Hidden | None) -> Tensor:
    """(rows, width) -> (rows, hidden). Plain padded grids are the fast way; only a state with unequally long sequences
    needs torch's packed form, because it must end exactly where each sequence ends."""
    if not x.shape[0]:
        return x.new_zeros(0, rnn.hidden_size)
    with torch.autocast(x.device.type, enabled=False):
        return recur(rnn, x.to(next(rnn.parameters()).dtype), at, state)


def recur(rnn: nn.RNNBase, x: Tensor, at: Layout, state: Hidden | None) -> Tensor:
    """The same in the weights' own precision: errors would grow along the sequence, and torch's LSTM fails under
    autocast on CPUs ("could not create a primitive descriptor", torch 2.13)."""
    g = at.grid(x)
    if state is None:
        return at.rows(rnn(g)[0])
    if at.full:
        y, last = rnn(g, state.initial())
        state.keep(last)
        return at.rows(y)
    some = at.lengths.nonzero()[:, 0]  # torch's packed form takes no empty sequences
    packed = pack_padded_sequence(g[some], at.lengths[some].cpu(), batch_first=True, enforce_sorted=False)
    y, last = rnn(packed, state.initial(some))
    state.keep(last, some)
    y = pad_packed_sequence(y, batch_first=True, total_length=at.longest)[0]
    return at.rows(y.new_zeros(at.batch, at.longest, rnn.hidden_size).index_copy(0, some, y))
