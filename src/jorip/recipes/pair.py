"""Families of encoder-decoders of which some classes are the encoder alone (T5EncoderModel)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jorip.architectures.base import Architecture
from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.recipes.family import Config, Family
from jorip.recipes.fields import At, Fields


@dataclass(frozen=True)
class Pair(Family):
    """alone: the classes that are the encoder alone, as a family whose specs are plain encoders."""

    alone: Family | None = None

    def read(self, config: Config, head: str) -> Architecture:
        if self.alone is not None and head in self.alone.heads:
            return self.alone.read(config, head)
        return super().read(config, head)

    def write(self, spec: Architecture, n_labels: int | None = None) -> tuple[dict[str, Any], str]:
        if self.alone is not None and isinstance(spec, Encoder) and not isinstance(spec, Decoder):
            return self.alone.write(spec, n_labels)
        return super().write(spec, n_labels)


def lone(fields: Fields) -> Fields:
    """What a pair's table says of its encoder, as the table of an encoder alone."""
    return {name: _lone(rule) if isinstance(rule, At) else rule for name, rule in fields.items()}


def _lone(rule: At) -> At:
    mine = [p.removeprefix("encoder.") for p in rule.paths.split() if p.startswith("encoder.")]
    return At(" ".join(mine), rule.default, rule.values)
