"""Language-model readout: a distribution over the vocabulary for every row."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.init import Linear
from jorip.core.layout import Rows
from jorip.core.site import Site
from jorip.parts.readout.base import Readout, ReadoutModule


class LanguageModel(Readout):
    """tied: the token embedding is the output matrix (Press & Wolf 2017, 1608.05859); bias: per vocabulary entry;
    scale: "inverse_sqrt" divides the rows by sqrt(d_model) before, as T5 does where it ties."""

    tied: bool = True
    bias: bool = False
    scale: Literal["none", "inverse_sqrt"] = "none"

    def build(self, site: Site, embedding: nn.Module, vocab_size: int) -> LanguageModelReadout:
        scale = site.d_model**-0.5 if self.scale == "inverse_sqrt" else 1.0
        return LanguageModelReadout(site.d_model, vocab_size, self.bias, embedding if self.tied else None, scale)

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        """All rows are asked, the loss included: it keeps the probabilities, and both passes have a second copy."""
        logits, rows = shape.rows * vocab_size, shape.rows * site.d_model
        return Cost(
            linear=rows * vocab_size,
            activations=rows + logits,
            sequential=1,
            wide=logits,
            work=logits + (rows if self.scale != "none" else 0),
            back=logits,
        )

    @classmethod
    def examples(cls):
        return (cls(), cls(tied=False, bias=True), cls(scale="inverse_sqrt"))


class LanguageModelReadout(ReadoutModule):
    def __init__(self, width: int, vocab: int, bias: bool, embedding: nn.Module | None, scale: float = 1.0):
        super().__init__()
        self.out = Linear(width, vocab, bias, role="readout")
        self.scale = scale
        if embedding is not None:
            self.out.weight = embedding.get_parameter("tokens.weight")

    def logits(self, h: Rows, ctx: Context | None = None) -> Tensor:
        return self.out(h.x * self.scale if self.scale != 1 else h.x)
