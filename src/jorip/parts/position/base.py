"""The protocol of position encodings: they add to embeddings, rotate queries and keys, add to scores, or none of it."""

from __future__ import annotations

from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.layout import Layout
from jorip.core.site import Site
from jorip.core.spec import Spec


class Position(Spec, family=True, package="jorip.parts.position"):
    """Family of position encodings, one per stack."""

    def check(self, site: Site) -> None:
        """Raises Refused when the site cannot have it."""

    def build(self, site: Site) -> PositionModule:
        raise TypeError(f"{self.kind} cannot be built")

    @classmethod
    def examples(cls) -> tuple[Position, ...]:
        return (cls(),)


class PositionModule(nn.Module):
    def embed(self, x: Tensor, at: Layout) -> Tensor:
        """Token embeddings (rows, width) -> with positions."""
        return x

    @property
    def rotates(self) -> bool:
        """Whether `rotate` does anything."""
        return type(self).rotate is not PositionModule.rotate

    def rotate(self, q: Tensor, at: Layout, ctx: Context) -> Tensor:
        """Queries or keys (rows, heads, dim) -> rotated."""
        return q

    def bias(self, q_at, k_at, ctx: Context) -> Tensor | None:
        """What is added to the scores, broadcastable to (batch, heads, q, k); None = nothing. A key or query is where
        `grid_order` says; holes may get anything."""
        return None
