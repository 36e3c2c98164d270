"""Whether a folder's tokenizer knows more tokens than the model has embeddings: such ids would be looked up nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jorip.core.errors import CheckpointError
from jorip.core.strict_json import loads

_LARGEST = 64 << 20  # bytes; larger files are the tokenizer's own to refuse


def check_vocabulary(folder: Path, rows: int) -> None:
    """rows: of the embedding. Raises CheckpointError when some token's id is beyond them. Files that cannot be read are
    passed over: they are an error when the tokenizer is opened, and the weights do not need them."""
    for name, ids in (("tokenizer.json", of_json), ("vocab.txt", of_lines), ("vocab.json", of_mapping)):
        path = folder / name
        if path.is_file() and path.stat().st_size <= _LARGEST:
            try:
                largest = max(ids(path.read_bytes()), default=-1)
            except (ValueError, KeyError, TypeError, AttributeError, OSError):
                return
            if largest >= rows:
                raise CheckpointError(
                    f"{path}: its vocabulary has ids up to {largest}, which needs {largest + 1} rows; the model's "
                    f"embedding has {rows}: they are not of one model. Without this file the model can be loaded"
                )
            return


def of_json(raw: bytes) -> Iterable[int]:
    tree: Any = loads(raw)
    vocab = tree["model"]["vocab"]
    yield from vocab.values() if isinstance(vocab, dict) else range(len(vocab))
    yield from (t["id"] for t in tree.get("added_tokens") or ())


def of_lines(raw: bytes) -> Iterable[int]:
    return range(len(raw.decode("utf-8").rstrip("\n").split("\n")))


def of_mapping(raw: bytes) -> Iterable[int]:
    return loads(raw).values()
