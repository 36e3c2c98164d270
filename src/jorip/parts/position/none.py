"""No position encoding (P5.1): the causal mask alone leaks position (survey 5.1.5; NoPE, 2305.19466)."""

from jorip.core.site import Site
from jorip.parts.position.base import Position, PositionModule


class NoPosition(Position, name="none"):
    """Order must come from the causal mask, a convolution or a recurrence."""

    ids = ("P5.1",)

    def build(self, site: Site) -> PositionModule:
        return PositionModule()
