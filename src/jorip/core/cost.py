"""What a part costs, counted, not estimated: each spec says it in one short method (docs/cost.md has the conventions).

MACs are multiply-accumulates (1 MAC = 2 FLOPs) of matrix products, split in those against weights (`linear`) and those
between tokens (`mixing`), because the survey's Table 1 argues about exactly these two. `sequential` and `path` are the
columns of its Table 2. Memory is what a CPU in float32 holds, without padding: sequences equally long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

MOMENTS = 8  # bytes per parameter that AdamW keeps: two moments in float32


class Shape(NamedTuple):
    """batch sequences of `length` rows; `memory` rows of the other side for what reads one. What the stack's positions
    do in attention: rotated: they turn queries and keys; bias: they add numbers to the scores, fixed or learned.
    normed: each head's queries and keys are."""

    batch: int
    length: int
    memory: int = 0
    rotated: bool = False
    bias: Literal["none", "fixed", "learned"] = "none"
    normed: bool = False

    @property
    def rows(self) -> int:
        return self.batch * self.length

    def crossing(self) -> Shape:
        """For a part that reads a memory: no positions."""
        return self._replace(rotated=False, bias="none")


@dataclass(frozen=True)
class Cost:
    """Counts of one part, in elements where they are memory; `+` adds parts that follow each other.

    activations  kept for the backward by the part's own operations, its input among them if they keep it
    state        kept by decoding
    sequential   operations that cannot run at the same time
    path         hops of a signal between the two positions farthest apart: layers of this kind that it takes, times
                 the steps of a recurrence
    wide         of the activations, those in float32 whatever the model's dtype
    work         made by a forward pass without gradients and alive at its worst moment, the output included; 0 = as
                 many as the activations
    back         the same for the backward, beside the activations and the parameters' gradients; 0 = likewise
    copies       of its inputs, those that it keeps as copies of its own, so that the given ones are free again
    shared       made once for later parts and alive until the forward pass ends, not kept by the backward
    held         of what is shared, what the part's backward keeps after all; the same for all parts, so it counts once
    lasting      kept by the process for the next call, so alive from then on, also without gradients
    borrowed     of what lasts, what the part's backward reads as well
    stays        alive after the part in a forward pass without gradients, until its stack is done
    """

    linear: int = 0
    mixing: int = 0
    activations: int = 0
    state: int = 0
    sequential: int = 0
    path: int = 0
    wide: int = 0
    work: int = 0
    back: int = 0
    copies: int = 0
    shared: int = 0
    held: int = 0
    lasting: int = 0
    borrowed: int = 0
    stays: int = 0

    def __add__(self, other: Cost) -> Cost:
        """All add except work, back and held, of which the larger is needed."""
        sums = {f: getattr(self, f) + getattr(other, f) for f in self.__dataclass_fields__}
        largest = {"work": max(self.working, other.working), "back": max(self.going_back, other.going_back)}
        return Cost(**sums | largest | {"held": max(self.held, other.held)})

    @property
    def macs(self) -> int:
        return self.linear + self.mixing

    @property
    def flops(self) -> int:
        return 2 * self.macs

    @property
    def working(self) -> int:
        return self.work or self.activations

    @property
    def going_back(self) -> int:
        return self.back or self.activations

    def kept(self, width: int) -> int:
        """Bytes of the activations where an element has `width`."""
        return self.activations * width + self.wide * max(4 - width, 0)


@dataclass(frozen=True)
class Memory:
    """Bytes. gradients: as many as parameters; optimizer: AdamW's moments; inference and training: the most at once
    of one forward pass, and of a forward and a backward that start without gradients (the optimizer's aside)."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    state: int
    inference: int
    training: int


@dataclass
class CostTree:
    """Costs by public path, in the order in which the parts run; parameters are exact, from a build on the meta device.

    gradients: by path, the elements of parameters' gradients that the backward first makes there (shared parameters:
    at their last use); again: those that it makes there once more, and adds.
    """

    parts: dict[str, Cost] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    total_parameters: int = 0
    shape: Shape = field(default_factory=lambda: Shape(1, 1))
    gradients: dict[str, int] = field(default_factory=dict)
    again: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> Cost:
        """Sums; path is the stack's, see `path`."""
        every = sum(self.parts.values(), Cost())
        return Cost(**{f: getattr(every, f) for f in every.__dataclass_fields__} | {"path": self.path})

    @property
    def path(self) -> int:
        """Residual connections pass layers by, so a stack's path is its shortest layer's; the longest stack counts
        (encoder, decoder, and the attention from one to the other)."""
        shortest: dict[str, int] = {}
        for name, cost in self.parts.items():
            if cost.path:
                kind = re.sub(r"\.\d+\.", ".", name)  # decoder.layers.3.cross -> decoder.layers.cross
                shortest[kind] = min(cost.path, shortest.get(kind, cost.path))
        return max(shortest.values(), default=0)

    def memory(self, width: int = 4) -> Memory:
        """Bytes where an element has `width` (4 = float32, 2 = bfloat16)."""
        total = self.total
        weights = self.total_parameters * width
        return Memory(
            parameters=weights,
            gradients=weights,
            optimizer=self.total_parameters * MOMENTS,
            activations=total.kept(width) + (total.held + total.borrowed) * width,
            state=total.state * width,
            inference=weights + self.peak_inference(width),
            training=weights + self.peak_training(width),
        )

    def peak_inference(self, width: int) -> int:
        """Bytes beside the parameters: what earlier parts left alive and the part at work."""
        alive = most = 0
        for cost in self.parts.values():
            alive += cost.shared + cost.lasting
            most = max(most, alive + cost.working)
            alive += cost.stays
        return most * width

    def peak_training(self, width: int) -> int:
        """Bytes beside the parameters. Forward: what earlier parts keep and the part at work. Backward: what this and
        earlier parts keep, the gradients of later ones and the part's own work; or, when it is done, its own
        gradients, while what it kept is free again. What lasts is there throughout."""
        kept = most = shared = 0
        for cost in self.parts.values():
            shared += cost.shared * width
            kept += cost.lasting * width
            most = max(most, shared + kept + max(cost.working * width, cost.kept(width)))
            kept += cost.kept(width)
        last = next(reversed(self.parts.values()), Cost())  # its loss is made before what is shared is free
        most, made = max(most, shared + kept + last.going_back * width), 0
        kept += self.total.held * width
        for path, cost in reversed(self.parts.items()):
            most = max(most, kept + made + cost.going_back * width)
            kept -= cost.kept(width)
            made += self.gradients.get(path, 0) * width
            most = max(most, kept + made + 2 * self.again.get(path, 0) * width)  # the second, and the sum
        return most

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
