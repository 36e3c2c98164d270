"""Pairs for replaced token detection (ELECTRA, 2003.10555): an encoder, and a generator of the same width beside it."""

from __future__ import annotations

from jorip.architectures.encoder import Encoder
from jorip.architectures.generator_discriminator import GeneratorDiscriminator
from jorip.parts.readout.masked_language_model import MaskedLanguageModel
from jorip.parts.readout.tagger import Tagger
from jorip.recipes.text_encoder import small as encoder


def small(vocab_size: int = 8000) -> GeneratorDiscriminator:
    """`encoder-small` with a generator of one layer."""
    return pair(encoder(vocab_size))


def pair(discriminator: Encoder, n_layers: int | None = None) -> GeneratorDiscriminator:
    """n_layers: the generator's, None = a quarter of the discriminator's, which the paper finds best (a quarter to a
    half); at least one."""
    readout = discriminator.readout
    generator = discriminator.override(
        {
            "n_layers": n_layers or max(1, discriminator.n_layers // 4),
            "readout": readout if isinstance(readout, MaskedLanguageModel) else MaskedLanguageModel(),
        }
    )
    return GeneratorDiscriminator(
        generator=generator, discriminator=discriminator.override({"readout": Tagger(n_classes=2)})
    )
