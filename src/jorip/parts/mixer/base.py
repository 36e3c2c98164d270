"""The protocol of everything that mixes tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.layout import Rows
from jorip.core.site import Site
from jorip.core.spec import Spec
from jorip.core.state import State

Carry = dict[str, Any]  # what one layer hands the next, by name


class Mixer(Spec, family=True, package="jorip.parts.mixer"):
    """Family of token mixers. `check` refuses a site with the reason; `build` makes the module; `cost` counts."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The external nodes that it can read beside the sequence's rows, by the names of their specs."""
        return ()

    def check(self, site: Site) -> None:
        """Raises Refused when the mathematics does not allow this site."""

    def build(self, site: Site) -> MixerModule:
        raise TypeError(f"{self.kind} cannot be built")

    def cost(self, site: Site, shape: Shape) -> Cost:
        raise TypeError(f"{self.kind} has no cost")

    @classmethod
    def examples(cls) -> tuple[Mixer, ...]:
        """What the contract tests run; more than one where fields change the mathematics."""
        return (cls(),)


class MixerModule(nn.Module):
    """forward: rows -> (rows, width) and the carry for the next layer. `path` names its state and captures."""

    path: str

    def forward(self, x: Rows, carry: Carry, ctx: Context, memory: Rows | None = None) -> tuple[Tensor, Carry]:
        raise TypeError(f"{type(self).__name__} has no forward")

    def new_state(self, batch: int, capacity: int, dtype, device=None) -> State | None:
        """What step-by-step decoding keeps; None for a mixer that is not causal."""
        return None
