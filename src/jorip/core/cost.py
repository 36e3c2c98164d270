"""What a part costs, counted, not estimated: each spec says it in one short method.

MACs are multiply-accumulates (1 MAC = 2 FLOPs) of matrix products, split in those against weights (`linear`) and those
between tokens (`mixing`), because the survey's Table 1 argues about exactly these two. Activations are the elements
that training keeps for the backward pass, state the elements that decoding keeps, `sequential` the operations that
cannot run at the same time, `path` the longest path between two positions (survey Table 2).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Shape(NamedTuple):
    """batch sequences of `length` rows; `memory` rows of the other side for what reads one."""

    batch: int
    length: int
    memory: int = 0

    @property
    def rows(self) -> int:
        return self.batch * self.length


@dataclass(frozen=True)
class Cost:
    """Counts of one part; `+` adds them (sequential and path add too: parts follow each other)."""

    linear: int = 0
    mixing: int = 0
    activations: int = 0
    state: int = 0
    sequential: int = 0
    path: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f) + getattr(other, f) for f in self.__dataclass_fields__))

    @property
    def macs(self) -> int:
        return self.linear + self.mixing

    @property
    def flops(self) -> int:
        return 2 * self.macs


@dataclass
class CostTree:
    """Costs by public path; parameters are exact, from a build on the meta device."""

    parts: dict[str, Cost] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    total_parameters: int = 0
    shape: Shape = field(default_factory=lambda: Shape(1, 1))

    @property
    def total(self) -> Cost:
        return sum(self.parts.values(), Cost())

    def __str__(self) -> str:
        head = ("part", "parameters", "linear MACs", "mixing MACs", "activations", "state")
        rows = [
            (path, self.parameters.get(path, 0), c.linear, c.mixing, c.activations, c.state)
            for path, c in self.parts.items()
        ]
        rows += [(path, n, 0, 0, 0, 0) for path, n in self.parameters.items() if path not in self.parts]
        t = self.total
        rows.append(("total", self.total_parameters, t.linear, t.mixing, t.activations, t.state))
        width = max(len(r[0]) for r in rows)
        lines = [f"{r[0]:<{width}}" + "".join(f"{v:>18,}" for v in r[1:]) for r in rows]
        return "\n".join([f"{head[0]:<{width}}" + "".join(f"{h:>18}" for h in head[1:]), *lines])
