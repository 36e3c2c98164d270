"""From one format into the other: load, save, and an account of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from jorip.architectures import folder as ours
from jorip.architectures.base import Model
from jorip.core.errors import ConfigError, NonFiniteError
from jorip.core.strict_json import loads
from jorip.core.tensor_file import finite
from jorip.data.tokenizers import BOS, EOS, SPECIALS, read
from jorip.exchange.install import copy, write_json
from jorip.exchange.load import find, is_theirs, load, read_folder
from jorip.exchange.origin import Origin, readout_of, tokenizer_files
from jorip.exchange.save import save
from jorip.exchange.shards import small_json

TOKENIZER_JSON, TASK = "tokenizer.json", "task.json"
# Beside a tokenizer of ours, for transformers: take tokenizer.json as it stands.
_OWN = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
_OWN |= {f"{t.strip('<>')}_token": t for t in SPECIALS}


@dataclass
class Converted:
    """source and folder; report: the load report of a checkpoint of others; files: name -> bytes that were written;
    dtype: of the weights; notes: what a person should know."""

    source: str
    folder: str
    format: str
    dtype: str
    files: dict[str, int]
    parameters: int
    report: list[str] = field(default_factory=list)
    account: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {n: v for n, v in vars(self).items() if n != "report"}


def convert(source: str, target: Path, format: Literal["hf", "jorip"], dtype: str | None = None) -> Converted:
    """Reads `source`, writes `target`. dtype: "float32", "bfloat16", "float16", or None = as it is.

    Raises what load and save raise, ConfigError when both are one folder, CheckpointError for numbers that are too
    large for the type.
    """
    path, name = find(source)
    if path.resolve() == target.resolve():
        raise ConfigError(f"{target}: source and target are one folder: give another one to write")
    theirs = is_theirs(path)
    model = read_folder(path, name) if theirs else load(path)
    folder = path if theirs else ours.find(path)
    if folder.resolve() == target.resolve():
        raise ConfigError(f"{target}: is what {source} means: give another folder to write")
    own = model.origin is None and is_own_tokenizer(folder / TOKENIZER_JSON)
    if own and format == "hf":
        labels = task_labels(folder) if hasattr(readout_of(model.spec), "n_classes") else []
        model.origin = Origin("", "", {"bos": BOS, "eos": EOS}, labels, folder)
    if dtype is not None:
        cast(model, getattr(torch, dtype), dtype, name)
    save(model, target, format=format)
    if own and format == "hf":
        write_json(target / "tokenizer_config.json", _OWN)
    elif format == "jorip" and not theirs:  # what it was trained for, and a tokenizer that came with no checkpoint
        copy([folder / n for n in (*([TOKENIZER_JSON] if own else []), TASK) if (folder / n).is_file()], target)
    types = {str(p.dtype).removeprefix("torch."): None for p in model.parameters()}
    lines, account = ([], {}) if model.origin is None else (model.origin.lines, model.origin.account)
    files = {p.name: p.stat().st_size for p in sorted(target.iterdir()) if p.is_file()}
    notes = [] if tokenizer_files(target) else ["SRC has no tokenizer, so the model was written without one"]
    n = sum(p.numel() for p in model.parameters())
    return Converted(name, str(target), format, ", ".join(types), files, n, lines, account, notes)


def cast(model: Model, dtype: torch.dtype, name: str, where: str) -> None:
    """All weights in one type. Raises NonFiniteError for numbers that are too large for it."""
    model.to(dtype)
    if bad := [n for n, p in model.named_parameters() if not finite(p)]:
        raise NonFiniteError(
            f"{where}: these weights are too large for {name}: {', '.join(bad[:5])}: bfloat16 has float32's range"
        )


def is_own_tokenizer(path: Path) -> bool:
    """Whether a run's own tokenizer lies there, whose first ids are our special tokens."""
    if not path.is_file():
        return False
    tree: Any = loads(read(path).encode())
    added = {t["id"]: t["content"] for t in tree.get("added_tokens") or ()}
    return tuple(added.get(i) for i in range(len(SPECIALS))) == SPECIALS


def task_labels(folder: Path) -> list[str]:
    """The classes of a run, in order."""
    task = small_json(folder / TASK) if (folder / TASK).is_file() else {}
    found = task.get("labels") if isinstance(task, dict) else None
    return [str(n) for n in found] if isinstance(found, list) else []
