"""What recent linear attention does with its outputs, head by head: norm(y), times swish(x W) where it is gated.

The norms have no weights: the projection that follows would take them up.
"""

from __future__ import annotations

from torch import Tensor, nn

from jorip.core.site import Site
from jorip.ops.head_norm import head_norm
from jorip.parts.attention.base import Stream


class Finish(nn.Module):
    """centred: LayerNorm (of each head: RetNet's group norm), else RMSNorm; gated: by a projection `swish`, (heads,
    head_dim)."""

    def __init__(self, centred: bool, gated: bool, eps: float = 1e-5):
        super().__init__()
        self.centred, self.gated, self.eps = centred, gated, eps

    def extra_repr(self) -> str:
        return f"centred={self.centred}, gated={self.gated}, eps={self.eps}"

    def streams(self, site: Site) -> dict[str, Stream]:
        return {"swish": Stream(site.n_heads, site.head_dim)} if self.gated else {}

    def forward(self, y: Tensor, s: dict[str, Tensor]) -> Tensor:
        """(batch, heads, length, dim) -> the same."""
        return head_norm(y, s["swish"] if self.gated else None, self.centred, self.eps)
