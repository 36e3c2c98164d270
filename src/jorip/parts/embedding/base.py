"""The protocol of embeddings: forward(inputs, at, position, ctx, **streams) -> (rows, width)."""

from __future__ import annotations

from torch import nn

from jorip.core.site import Site
from jorip.core.spec import Spec


class Embedding(Spec, family=True, package="jorip.parts.embedding"):
    """Family of input embeddings."""

    def build(self, site: Site, vocab_size: int) -> nn.Module:
        raise TypeError(f"{self.kind} cannot be built")

    @classmethod
    def examples(cls) -> tuple[Embedding, ...]:
        return (cls(),)
