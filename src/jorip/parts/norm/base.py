"""The protocol of norms: rows (rows, width) -> rows (rows, width)."""

from __future__ import annotations

from torch import nn

from jorip.core.cost import Cost, Shape
from jorip.core.site import Site
from jorip.core.spec import Spec


class Norm(Spec, family=True, package="jorip.parts.norm"):
    """Family of normalisations."""

    def build(self, site: Site) -> nn.Module:
        raise TypeError(f"{self.kind} cannot be built")

    def cost(self, site: Site, shape: Shape) -> Cost:
        """Of a norm that keeps its input and two statistics a row."""
        rows, elements = shape.rows, shape.rows * site.d_model
        return Cost(activations=elements + 2 * rows, wide=2 * rows, work=elements + 2 * rows, back=2 * elements)

    @classmethod
    def examples(cls) -> tuple[Norm, ...]:
        return (cls(),)
