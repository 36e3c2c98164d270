"""Decoder: causal self-attention; alone it is a language model (cross-attention is removed, survey 2.2.2)."""

from __future__ import annotations

from jorip.architectures.encoder import Encoder
from jorip.core.site import Site
from jorip.parts.readout.base import Readout
from jorip.parts.readout.language_model import LanguageModel


class Decoder(Encoder):
    """An encoder's fields; causal, and with a language-model readout unless another is given."""

    readout: Readout | None = LanguageModel()

    def site(self, path: str = "", d_memory: int | None = None) -> Site:
        return self.heads_site(path, causal=True, d_memory=d_memory)
