"""Token embeddings: E[token] (times sqrt(D) in Vaswani et al. 2017), plus segments, plus positions, norm, dropout."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import DataError
from jorip.core.layout import Layout
from jorip.core.site import Site
from jorip.ops.dropout import Dropout
from jorip.parts.embedding.base import Embedding
from jorip.parts.norm.base import Norm


class Tokens(Embedding):
    """scale: "sqrt" multiplies by sqrt(d_model), as the paper does when the readout shares the weights; segments:
    how many segment embeddings (2 for text pairs as in BERT), 0 = none; norm: after the sum, as in BERT; dropout:
    last; token_dropout: of whole tokens (their embedding is left out, their place stays), which teaches not to rely
    on single words."""

    scale: Literal["none", "sqrt"] = "none"
    segments: int = Field(default=0, ge=0)
    norm: Norm | None = None
    dropout: float = Field(default=0.0, ge=0, lt=1)
    token_dropout: float = Field(default=0.0, ge=0, lt=1)

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        own = super().cost(site, shape, vocab_size)
        mask = shape.rows * site.d_model if self.dropout else 0
        own += Cost(activations=mask + (shape.rows if self.token_dropout else 0))
        return own if self.norm is None else own + self.norm.cost(site, shape)

    def build(self, site: Site, vocab_size: int) -> TokenEmbedding:
        norm = self.norm.build(site.at("norm")) if self.norm else None
        scale = site.d_model**0.5 if self.scale == "sqrt" else 1.0
        drop = Dropout(self.dropout, f"{site.path}.dropout")
        forget = Dropout(self.token_dropout, f"{site.path}.token_dropout")
        return TokenEmbedding(vocab_size, site.d_model, scale, self.segments, norm, drop, forget)


class EmbeddingTable(nn.Embedding):
    role = "embedding"

    def reset_parameters(self) -> None:
        """The law runs once over the whole model instead."""


class TokenEmbedding(nn.Module):
    def __init__(
        self,
        vocab: int,
        width: int,
        scale: float,
        segments: int,
        norm: nn.Module | None,
        dropout: Dropout,
        token_dropout: Dropout,
    ):
        super().__init__()
        self.tokens = EmbeddingTable(vocab, width)
        self.segments = EmbeddingTable(segments, width) if segments else None
        self.scale, self.norm, self.dropout, self.token_dropout = scale, norm, dropout, token_dropout

    def forward(
        self,
        tokens: Tensor,
        at: Layout,
        position,
        ctx: Context,
        segments: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> Tensor:
        """tokens (rows,) int64; segments (rows,) int64; extra (rows, width): more to add to each token's embedding."""
        x = self.tokens(tokens) if extra is None else self.tokens(tokens) + extra
        x = self.token_dropout.whole_rows(x * self.scale if self.scale != 1 else x, at, ctx)
        if segments is not None and self.segments is None:
            raise DataError(
                "this model has no segment embeddings: build it with embedding.segments=2, or give no segments"
            )
        if self.segments is not None:
            x = x + (self.segments(segments) if segments is not None else self.segments.weight[0])
        x = position.embed(x, at)
        x = self.norm(x) if self.norm is not None else x
        return self.dropout(x, at, ctx)
