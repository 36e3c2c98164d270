"""What a run begins with: a fresh tokenizer and model, or those of a folder that it starts from.

Starting from a folder takes every weight that the task's model has, too: the embedding and all layers must be there; a
readout that the folder does not have begins fresh, one that the task does not need is left out. Both are said.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jorip.architectures.base import Architecture, Model
from jorip.architectures.locate import find
from jorip.core.errors import ConfigError
from jorip.core.tensor_file import Digest
from jorip.data.tokenizers import Tokenizer
from jorip.exchange.origin import readout_of

SHOWN = 4  # names of each kind in a notice
_CLASSES = {"id2label", "label2id", "num_labels", "_num_labels", "problem_type"}  # of a config: what its classes are


@dataclass
class Transplant:
    """taken: how many tensors came from the folder; fresh, left: our names without a source, their names without a
    place; repeated: tables of positions that were made longer."""

    folder: str
    taken: int = 0
    fresh: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{self.taken} tensors taken from {self.folder}"]
        parts += [f"fresh: {listed(self.fresh)}"] if self.fresh else []
        parts += [f"repeated to its new length: {listed(self.repeated)}"] if self.repeated else []
        parts += [f"left out: {listed(self.left)}"] if self.left else []
        return "; ".join(parts)


def listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def source_of(folder: str, base: str) -> tuple[Model, Tokenizer]:
    """Model and tokenizer of a run, a folder of ours or a Hugging Face folder; relative paths from the YAML file."""
    from jorip.exchange import load
    from jorip.exchange.tokenizers import load_tokenizer

    beside = Path(base) / folder
    path, _ = load.find(beside if not Path(folder).exists() and beside.exists() else folder)
    model = load.load(path).pretrained()
    return model, load_tokenizer(path if (path / "config.json").is_file() else find(path))


def origin_of(source: Model, spec: Architecture, labels: list[str]) -> Any:
    """What is said beside the weights of the source (special ids, generation settings). Of its classes nothing: the
    names are the task's own, where what it trains (spec) decides among classes."""
    if source.origin is None:
        return None
    config = {k: v for k, v in source.origin.config.items() if k not in _CLASSES}
    decides = hasattr(readout_of(spec), "n_classes")
    return replace(source.origin, labels=labels if decides else [], config=config, folder=None)


def keep_vocabulary(spec: Architecture, source: Architecture) -> Architecture:
    """The vocabulary of the source, which may be larger than its tokenizer's (padded to a round number)."""
    sizes = {
        path: found
        for path in ("vocab_size", "encoder.vocab_size", "decoder.vocab_size")
        if (found := at(source, path)) is not None and at(spec, path) is not None
    }
    return spec.override(sizes)


def at(spec: Any, path: str) -> Any:
    for name in path.split("."):
        spec = getattr(spec, name, None)
    return spec


@torch.no_grad()
def transplant(model: Model, source: Model, folder: str) -> Transplant:
    """Copies what fits by name. Raises ConfigError when anything but a readout is missing or has another shape."""
    mine, theirs = dict(model.named_parameters()), dict(source.named_parameters())
    done = Transplant(folder)
    for name, p in mine.items():
        other = theirs.pop(name, None)
        own = "readout." in name or name.startswith("upper")  # what a task puts on top
        if other is None or (own and other.shape != p.shape):
            if not own:
                raise ConfigError(f"model.start_from: {folder} has no {name!r}, which this model needs")
            done.fresh.append(name)
            continue
        if name.endswith("position.weight") and other.shape[0] < p.shape[0] and other.shape[1:] == p.shape[1:]:
            offset = getattr(model.get_submodule(name.rpartition(".")[0]), "offset", 0)
            other = longer(other, len(p), offset)
            done.repeated.append(name)
        if other.shape != p.shape:
            raise ConfigError(
                f"model.start_from: {name!r} is {tuple(other.shape)} in {folder}, and {tuple(p.shape)} in this model: "
                "an override that changes sizes does not go with start_from"
            )
        p.copy_(other)
        done.taken += 1
    done.left = sorted(theirs)
    if kept := [n for n in done.left if "readout." not in n]:
        raise ConfigError(f"model.start_from: this model has no place for {listed(kept)} of {folder}")
    return done


def longer(table: Tensor, length: int, offset: int) -> Tensor:
    """Learned positions for longer texts: the table's rows again and again, as Longformer begins (Beltagy et al. 2020,
    2004.05150, section 5), so that the neighbourhood of each place is one that was learned."""
    rows = table[offset:]
    times = -(-(length - offset) // len(rows))
    return torch.cat([table[:offset], rows.repeat(times, 1)[: length - offset]])


def digest(model: Model) -> str:
    """sha256 over the weights: a run that was begun from others is not resumed from these."""
    sum_ = Digest()
    for name, p in model.named_parameters():
        sum_.tensor(name, p)
    return sum_.hex()
