"""The protocol of embeddings: forward(inputs, at, position, ctx, **streams) -> (rows, width)."""

from __future__ import annotations

from torch import nn

from jorip.core.cost import Cost, Shape
from jorip.core.site import Site
from jorip.core.spec import Spec


class Embedding(Spec, family=True, package="jorip.parts.embedding"):
    """Family of input embeddings."""

    def build(self, site: Site, vocab_size: int) -> nn.Module:
        raise TypeError(f"{self.kind} cannot be built")

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        """Of a table: the ids, and the rows it makes."""
        rows = shape.rows * site.d_model
        return Cost(activations=2 * shape.rows, wide=2 * shape.rows, work=2 * rows, back=rows)

    @classmethod
    def examples(cls) -> tuple[Embedding, ...]:
        return (cls(),)
