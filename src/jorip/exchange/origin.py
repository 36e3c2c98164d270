"""What a checkpoint says beside its weights, kept with the model so that it can be written back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Origin:
    """family, head: whose config it was; ids: special tokens (bos, eos, pad, decoder_start ...); labels: names of a
    classifier's classes; folder: where tokenizer and generation settings lie; lines: the load report."""

    family: str
    head: str
    ids: dict[str, int | list[int] | None] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    folder: Path | None = None
    lines: list[str] = field(default_factory=list)

    @property
    def report(self) -> str:
        """What became of every field and every key."""
        return "\n".join(self.lines)
