"""The protocol of attention mechanisms: they declare the streams they need and map them to values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.site import Site
from jorip.core.spec import Spec
from jorip.core.state import KeyValue, State
from jorip.parts.attention.sparse.rolling import Held, Rolling


@dataclass(frozen=True)
class Stream:
    """A projection that the shell makes: `heads` of `dim`; from the query side, or from the side that is read
    (`memory`, kept by the decoding state); rotated by the position encoding or not."""

    heads: int
    dim: int
    memory: bool = False
    rotate: bool = False


def qkv(site: Site) -> dict[str, Stream]:
    """The usual three."""
    return {
        "q": Stream(site.n_heads, site.head_dim, rotate=True),
        "k": Stream(site.n_kv_heads, site.head_dim, memory=True, rotate=True),
        "v": Stream(site.n_kv_heads, site.head_dim, memory=True),
    }


class Mechanism(Spec, family=True, package="jorip.parts.attention"):
    """Family of attention mechanisms."""

    nodes: ClassVar[tuple[str, ...]] = ()  # external nodes that it can read, by the names of their specs

    def check(self, site: Site) -> None:
        """Raises Refused when the mathematics does not allow this site."""

    def build(self, site: Site) -> MechanismModule:
        raise TypeError(f"{self.kind} cannot be built")

    def keeps(self, length: int) -> int:
        """Rows that decoding holds of so many."""
        return length

    def late_rows(self, name: str, site: Site, shape: Shape) -> int:
        """Rows of each sequence that a late stream is made for."""
        raise TypeError(f"{self.kind} has no late streams")

    def state_size(self, site: Site, length: int, streams: dict[str, Stream]) -> int:
        """Elements that decoding holds of each sequence of so many rows (of the memory, where one is read)."""
        return self.keeps(length) * sum(s.heads * s.dim for s in streams.values() if s.memory)

    def cost(self, site: Site, shape: Shape) -> Cost:
        """Without the shell's projections."""
        raise TypeError(f"{self.kind} has no cost")

    @classmethod
    def examples(cls) -> tuple[Mechanism, ...]:
        return (cls(),)


def score_bias(q_at, k_at, ctx: Context) -> Tensor | None:
    """What the stack's position encoding adds to the scores, made once per stack and step."""
    if ctx.position is None:
        return None
    if isinstance(k_at, Held):  # a window's state holds other keys than those of the other layers
        return ctx.position.bias(q_at, k_at, ctx)
    name = ("bias", id(q_at), id(k_at) if k_at is q_at else k_at.longest)
    if name not in ctx.shared:  # the layout is kept beside it, so that its id cannot come to name another one
        ctx.shared[name] = q_at, ctx.position.bias(q_at, k_at, ctx)
    return ctx.shared[name][1]


class MechanismModule(nn.Module):
    """forward: streams (batch, heads, length, dim) by name -> (batch, heads, q length, dim) and the carry.

    keeps: rows that it can ever look back to, None = all: decoding holds no more.
    late: names of streams of its own side that it gets as `Late`, to be projected when it knows for which rows.
    reads: names of the marks of rows that it reads (`model(tokens, marks={name: ...})`).
    folds: instead of rows, decoding holds what they were folded into (linear attention): `new_state` makes it,
    `forward` finds it as `ctx.part_state(path)` and gets the streams of the new rows only; where a memory is read, `k`
    and `v` come with the first call alone, which folds them.
    """

    keeps: int | None = None
    folds: bool = False
    late: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    def streams(self, site: Site) -> dict[str, Stream]:
        return qkv(site)

    def new_state(self, batch: int, capacity: int, shapes: dict[str, tuple[int, int]], dtype, device=None) -> State:
        """An empty decoding state; shapes: (heads, dim) of each stream that is kept."""
        if self.keeps is not None:
            return Rolling.empty(batch, capacity, self.keeps, shapes, dtype, device)
        return KeyValue.empty(batch, capacity, shapes, dtype, device)

    def forward(self, s: dict[str, Tensor], q_at, k_at, carry: dict, ctx: Context) -> tuple[Tensor, dict]:
        raise TypeError(f"{type(self).__name__} has no forward")

    def weights(self, s: dict[str, Tensor], q_at, k_at, ctx: Context) -> Tensor:
        """(batch, heads, q, k): the map that `forward` used, recomputed; only for mechanisms that have one."""
        raise TypeError(f"{type(self).__name__} has no attention map")
