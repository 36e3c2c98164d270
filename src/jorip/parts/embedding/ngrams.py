"""Token embeddings plus embeddings of the token n-grams that end at each row, found by hashing (Bojanowski et al. 2017,
1607.04606, for words; Clark et al. 2022, 2103.06874, for hashing into a small table).

Structure is one of the remedies for little data: a bag of n-grams is a strong classifier by itself, and what it says is
here from the first layer on, so that attention only has to learn the rest.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.errors import Refused
from jorip.core.layout import Layout
from jorip.core.random import mix
from jorip.core.site import Site
from jorip.ops.dropout import Dropout
from jorip.parts.embedding.tokens import EmbeddingTable, TokenEmbedding, Tokens


class NGrams(Tokens, name="ngrams"):
    """A Tokens embedding's fields, and n: the longest n-gram (2 = bigrams); buckets: rows of the shared table, in which
    different n-grams may collide; ngram_dropout: of single n-grams, because most are rare and easily learnt by
    heart. The table starts at zero, so that an n-gram never seen in training says nothing."""

    n: int = Field(default=3, ge=2, le=8)
    buckets: int = Field(default=2**16, gt=0, le=2**24)
    ngram_dropout: float = Field(default=0.0, ge=0, lt=1)

    def cost(self, site: Site, shape: Shape, vocab_size: int) -> Cost:
        """The n - 1 embeddings of each row are alive at once, twice (with and without what is dropped)."""
        grams = (self.n - 1) * shape.rows
        kept = Cost(activations=3 * grams, wide=2 * grams, work=2 * grams * site.d_model, back=grams * site.d_model)
        return super().cost(site, shape, vocab_size) + kept

    def build(self, site: Site, vocab_size: int) -> NGramEmbedding:
        if site.causal:
            raise Refused(
                f"{site.path}: ngrams looks back over the tokens of one call, and a decoder's state keeps none: "
                "use tokens here"
            )
        drop = Dropout(self.ngram_dropout, f"{site.path}.ngram_dropout")
        return NGramEmbedding(super().build(site, vocab_size), NGramTable(self.buckets, site.d_model), self.n, drop)


class NGramTable(EmbeddingTable):
    def reset_own(self, name: str, p: nn.Parameter, generator: torch.Generator) -> None:
        """Zero, whatever the model's law of initialisation."""
        nn.init.zeros_(p)


class NGramEmbedding(nn.Module):
    def __init__(self, base: TokenEmbedding, table: EmbeddingTable, n: int, dropout: Dropout):
        super().__init__()
        self.base, self.table, self.n, self.dropout = base, table, n, dropout

    @property
    def tokens(self) -> EmbeddingTable:
        return self.base.tokens

    @property
    def segments(self) -> EmbeddingTable | None:
        return self.base.segments

    def forward(self, tokens: Tensor, at: Layout, position, ctx: Context, segments: Tensor | None = None) -> Tensor:
        """As TokenEmbedding; each row also gets the sum of its n-grams' embeddings, over sqrt(their number)."""
        grams = self.table(self.hashes(tokens, at))
        kept = self.dropout(grams.new_ones(grams.shape[:2]), at, ctx)  # (rows, n - 1): whole n-grams
        extra = (grams * kept[..., None]).sum(-2) * self.n**-0.5
        return self.base(tokens, at, position, ctx, segments, extra=extra)

    def hashes(self, tokens: Tensor, at: Layout) -> Tensor:
        """(rows, n - 1) bucket of the 2-gram .. n-gram that ends at each row; a sequence begins with zeros."""
        grid = at.grid(tokens + 1).int()
        hashed, before = mix(grid, 1), grid
        grams = []
        for size in range(2, self.n + 1):
            before = nn.functional.pad(before, (1, 0))[:, :-1]
            hashed = mix(hashed, size) ^ mix(before, 2 * size + 1)
            grams.append(at.rows(mix(hashed, 0x51ED27).remainder(self.table.num_embeddings).long()))
        return torch.stack(grams, -1)
