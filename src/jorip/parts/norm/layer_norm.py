"""LayerNorm: y = (x - mean) / sqrt(var + eps) * weight + bias over the width (Ba et al. 2016, 1607.06450)."""

from torch import Tensor, nn
from torch.nn import functional as F

from jorip.core.site import Site
from jorip.parts.norm.base import Norm


class LayerNorm(Norm):
    """eps: 1e-5 as in torch and GPT-2 (BERT has 1e-12); bias: whether there is one besides the weight."""

    eps: float = 1e-5
    bias: bool = True

    def build(self, site: Site) -> nn.Module:
        return LayerNormModule(site.d_model, self.eps, self.bias)


class LayerNormModule(nn.LayerNorm):
    role = "norm"

    def __init__(self, width: int, eps: float, bias: bool):
        super().__init__(width, eps=eps, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)
