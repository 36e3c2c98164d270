"""Decoder-only language models for small corpora."""

from __future__ import annotations

from jorip.architectures.decoder import Decoder
from jorip.blocks.pre_norm import PreNorm
from jorip.core.init import Normal
from jorip.parts.embedding.tokens import Tokens
from jorip.parts.feedforward.dense import Dense
from jorip.parts.mixer.multi_head import MultiHead
from jorip.parts.norm.layer_norm import LayerNorm
from jorip.parts.norm.rms_norm import RmsNorm
from jorip.parts.position.learned import Learned
from jorip.parts.position.rotary import Rotary


def small(vocab_size: int = 8000, d_model: int = 256, n_heads: int = 4, n_layers: int = 4, max_len: int | None = None,
          dropout: float = 0.1) -> Decoder:  # fmt: skip
    """Pre-norm with RMSNorm, rotary positions, GELU, tied readout."""
    layer = PreNorm(
        mixer=MultiHead(bias=False),
        feed_forward=Dense(activation="gelu", bias=False),
        norm=RmsNorm(),
        dropout=dropout,
    )
    return Decoder(
        vocab_size=vocab_size,
        d_model=d_model,
        n_heads=n_heads,
        n_layers=n_layers,
        max_len=max_len,
        init=Normal(),
        embedding=Tokens(dropout=dropout),
        position=Rotary(),
        layer=layer,
        norm=RmsNorm(),
    )


def nanogpt_char(vocab_size: int = 65, max_len: int = 64) -> Decoder:
    """nanoGPT's CPU setting for tinyshakespeare: 4 layers, 4 heads, width 128, no bias, no dropout, learned
    positions."""
    layer = PreNorm(
        mixer=MultiHead(bias=False),
        feed_forward=Dense(activation="gelu", bias=False),
        norm=LayerNorm(bias=False),
    )
    return Decoder(
        vocab_size=vocab_size,
        d_model=128,
        n_heads=4,
        n_layers=4,
        max_len=max_len,
        init=Normal(),
        position=Learned(),
        layer=layer,
        norm=LayerNorm(bias=False),
    )
