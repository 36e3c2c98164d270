"""An encoder for texts, trained from scratch on some thousand to a hundred thousand examples."""

from __future__ import annotations

from jorip.architectures.encoder import Encoder
from jorip.blocks.pre_norm import PreNorm
from jorip.parts.embedding.tokens import Tokens
from jorip.parts.feedforward.dense import Dense
from jorip.parts.position.base import Position
from jorip.parts.position.rotary import Rotary
from jorip.parts.readout.base import Readout


def small(vocab_size: int = 8000, d_model: int = 256, n_heads: int = 4, n_layers: int = 4, dropout: float = 0.1,
          readout: Readout | None = None, position: Position | None = None) -> Encoder:  # fmt: skip
    """Pre-norm, GELU, rotary positions. The task adds its readout."""
    return Encoder(
        vocab_size=vocab_size,
        d_model=d_model,
        n_heads=n_heads,
        n_layers=n_layers,
        embedding=Tokens(dropout=dropout),
        position=position or Rotary(),
        layer=PreNorm(feed_forward=Dense(activation="gelu", dropout=dropout), dropout=dropout),
        readout=readout,
    )
