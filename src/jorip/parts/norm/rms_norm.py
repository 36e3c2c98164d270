"""RMSNorm: y = x / sqrt(mean(x^2) + eps) * weight (Zhang & Sennrich 2019, 1910.07467)."""

import torch
from torch import Tensor, nn

from jorip.core.cost import Cost, Shape
from jorip.core.site import Site
from jorip.parts.norm.base import Norm


class RmsNorm(Norm, name="rms_norm"):
    """eps: 1e-6 as in Llama and T5."""

    eps: float = 1e-6

    def build(self, site: Site) -> nn.Module:
        return RmsNormModule(site.d_model, self.eps)

    def cost(self, site: Site, shape: Shape) -> Cost:
        """Keeps its input in float32, 1 / rms and the normalised rows."""
        rows, elements = shape.rows, shape.rows * site.d_model
        return Cost(activations=2 * elements + rows, wide=elements + rows, work=2 * elements + rows, back=4 * elements)


class RmsNormModule(nn.Module):
    role = "norm"

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        h = x.to(torch.promote_types(x.dtype, torch.float32))  # statistics in float32 or better
        return (h * torch.rsqrt(h.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight
