"""The vanilla Transformer (Vaswani et al. 2017, 1706.03762): base and big as in the paper, small and tiny for small
data.

Post-norm, ReLU, sinusoidal positions, embeddings times sqrt(d), one shared vocabulary and matrix for both sides and the
readout. `small` and `tiny` are pre-norm, which trains without care, on data of thousands to a few hundred thousand
pairs.
"""

from __future__ import annotations

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.blocks.post_norm import PostNorm
from jorip.blocks.pre_norm import PreNorm
from jorip.parts.embedding.tokens import Tokens
from jorip.parts.feedforward.dense import Dense


def base(vocab_size: int = 37000, d_model: int = 512, d_ff: int = 2048, n_heads: int = 8, n_layers: int = 6,
         dropout: float = 0.1) -> EncoderDecoder:  # fmt: skip
    """65 M parameters at the paper's 37,000 shared tokens."""
    sizes = {"vocab_size": vocab_size, "d_model": d_model, "n_heads": n_heads, "n_layers": n_layers, "norm": None}
    parts = {
        "embedding": Tokens(scale="sqrt", dropout=dropout),
        "layer": PostNorm(feed_forward=Dense(d_ff=d_ff), dropout=dropout),
    }
    return EncoderDecoder(encoder=Encoder(**sizes, **parts), decoder=Decoder(**sizes, **parts), share="embeddings")


def big(vocab_size: int = 37000) -> EncoderDecoder:
    """213 M parameters; dropout 0.3 as for English-German."""
    return base(vocab_size, d_model=1024, d_ff=4096, n_heads=16, dropout=0.3)


def small(vocab_size: int = 8000, d_model: int = 256, d_ff: int = 1024, n_heads: int = 4, n_layers: int = 3,
          dropout: float = 0.2) -> EncoderDecoder:  # fmt: skip
    """For some ten thousand pairs: pre-norm, GELU, more dropout."""
    layer = PreNorm(feed_forward=Dense(d_ff=d_ff, activation="gelu", dropout=dropout), dropout=dropout)
    spec = base(vocab_size, d_model, d_ff, n_heads, n_layers, dropout)
    final = {"norm": "layer_norm", "layer": layer}
    return spec.override({f"{side}.{k}": v for side in ("encoder", "decoder") for k, v in final.items()})


def tiny(vocab_size: int = 500) -> EncoderDecoder:
    """For characters and minutes: width 128, two layers a side."""
    return small(vocab_size, d_model=128, d_ff=256, n_heads=4, n_layers=2, dropout=0.1)
