"""Masked-language-model readout (Devlin et al. 2018, 1810.04805): logits = norm(f(H W + b)) E^T + b_vocabulary.

Unlike a plain language-model readout it transforms the rows first: what they are good for in the stack is not what
looks like the embedding of the missing token.
"""

from __future__ import annotations

from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.init import Linear
from jorip.core.layout import Rows
from jorip.core.site import Site
from jorip.parts.feedforward.base import Activation, activate, keeps
from jorip.parts.norm.base import Norm
from jorip.parts.norm.layer_norm import LayerNorm
from jorip.parts.readout.base import Readout
from jorip.parts.readout.language_model import LanguageModelReadout


class MaskedLanguageModel(Readout):
    """tied: the token embedding is the output matrix; bias: per vocabulary entry; activation: of the layer before;
    norm: after that layer (BERT's eps is 1e-12). The loss is taken where targets are asked: the masked tokens."""

    tied: bool = True
    bias: bool = True
    activation: Activation = "gelu"
    norm: Norm = LayerNorm(eps=1e-12)

    def build(self, site: Site, embedding: nn.Module, vocab_size: int) -> MaskedLanguageModelReadout:
        norm = self.norm.build(site.at("norm"))
        table = embedding if self.tied else None
        return MaskedLanguageModelReadout(site.d_model, vocab_size, self.bias, table, self.activation, norm)

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        """As if all rows were asked: training asks the masked ones only."""
        rows, logits = shape.rows * site.d_model, shape.rows * vocab_size
        own = Cost(
            linear=rows * (site.d_model + vocab_size),
            activations=2 * rows + logits + (keeps(self.activation, 0) - 1) * rows,
            sequential=2,
            wide=logits,
            work=max(logits + rows, 2 * rows),
            back=logits,
        )
        return own + self.norm.cost(site, shape)

    @classmethod
    def examples(cls):
        return (cls(), cls(tied=False, bias=False, activation="relu"))


class MaskedLanguageModelReadout(LanguageModelReadout):
    def __init__(
        self, width: int, vocab: int, bias: bool, embedding: nn.Module | None, activation: Activation, norm: nn.Module
    ):
        super().__init__(width, vocab, bias, embedding)
        self.dense = Linear(width, width, role="readout")
        self.activation: Activation = activation
        self.norm = norm

    def logits(self, h: Rows, ctx: Context | None = None) -> Tensor:
        """(rows, vocabulary)."""
        return self.out(self.norm(activate(self.activation, self.dense(h.x))))
