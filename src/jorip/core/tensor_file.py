"""One safetensors file, written whole and read with suspicion.

Several names for one tensor (tied weights) are stored once; the others are written to the header's metadata as
{"alias:<name>": "<stored name>"}. `digest` is a sum over names, types, shapes and bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from jorip.core.errors import CheckpointError, ResourceError
from jorip.core.strict_json import loads

_ALIAS = "alias:"
_MAX_HEADER = 16 << 20  # bytes; a name with its place takes about 150, so this is a hundred thousand tensors
_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_TYPES |= {"I64": torch.int64, "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool}
_MAX_DIMS = 16


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes and fsyncs; what shares its memory is stored under its first name. ResourceError when the disk is full."""
    kept, aliases = once(tensors)
    kept = {name: own(t.detach().cpu()) for name, t in kept.items()}
    try:
        save_file(kept, path, {"format": "pt", **metadata, **{_ALIAS + a: name for a, name in aliases.items()}})
        path.chmod(path.parent.stat().st_mode & 0o666)  # safetensors makes it private; be as open as the folder
        with open(path, "rb+") as f:
            os.fsync(f.fileno())
    except (OSError, SafetensorError) as e:
        raise ResourceError(f"{path}: cannot write: {e}: free some space, or choose another folder") from e


def once(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Distinct tensors, and further name -> first name of the same memory."""
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple, str] = {}
    for name, t in tensors.items():
        place = (t.data_ptr(), t.shape, t.stride(), t.dtype) if t.numel() else (name,)
        stored = first.setdefault(place, name)
        if stored == name:
            kept[name] = t
        else:
            aliases[name] = stored
    return kept, aliases


def own(t: Tensor) -> Tensor:
    """Contiguous and alone in its memory, which the format wants; copied only where it is not."""
    t = t.contiguous()
    return t if t.untyped_storage().nbytes() == t.nbytes else t.clone()


class Digest:
    """sha256 over texts and tensors, in the order they are added."""

    def __init__(self) -> None:
        self.sum = hashlib.sha256()

    def text(self, text: bytes) -> None:
        self.sum.update(len(text).to_bytes(8, "little") + text)

    def tensor(self, name: str, t: Tensor) -> None:
        self.text(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        self.sum.update(own(t.detach().cpu()).reshape(-1).view(torch.uint8).numpy().data)

    def hex(self) -> str:
        return self.sum.hexdigest()


class TensorFile:
    """The header of a safetensors file: types and shapes by name, aliases, metadata. `read` gives one tensor.

    Raises CheckpointError for whatever is not a whole, plain safetensors file, before any of it is mapped.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self.types, self.shapes, self.metadata, self.nbytes = header(path)
            self.file: Any = safe_open(path, framework="pt").__enter__()
        except FileNotFoundError:
            raise CheckpointError(f"{path}: missing") from None
        except Exception as e:  # what passes our reading reaches safetensors', whose errors are not in its interface
            raise CheckpointError(f"{path}: not a readable safetensors file ({e})") from None
        self.aliases = {k.removeprefix(_ALIAS): v for k, v in self.metadata.items() if k.startswith(_ALIAS)}

    def dtype(self, name: str) -> torch.dtype:
        return _TYPES[self.types[name]]

    def view(self, name: str) -> Tensor:
        """A tensor in the file's own pages: no memory is taken, and it lives no longer than the file stays as it is."""
        try:
            return self.file.get_tensor(name)
        except Exception as e:
            raise CheckpointError(f"{self.path}: cannot read {name!r} ({e})") from None

    def read(self, name: str) -> Tensor:
        """A tensor in memory of its own (the file may go away afterwards)."""
        return self.view(name).clone()

    def close(self) -> None:
        self.file.__exit__(None, None, None)


def header(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]], dict[str, str], int]:
    """Types, shapes, metadata, and the bytes of data. Raises ValueError for a file that is cut off, and for tensors
    that overlap, leave gaps, or are not of the size that their shape and type need."""
    size = path.stat().st_size
    with open(path, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        if size < 10 or length > size - 8:
            raise ValueError(f"{size} bytes with a header of {length}: it is cut off, or not a safetensors file")
        if length > _MAX_HEADER:
            raise ValueError(f"its header claims {length} bytes")
        tree = loads(f.read(length))
    if not isinstance(tree, dict):
        raise ValueError(f"its header is a {type(tree).__name__}")
    metadata = tree.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata is not a mapping of names to texts")
    places = {name: place(name, entry) for name, entry in tree.items()}
    end, last = 0, ""
    for start, stop, name in sorted((*span, name) for name, (_, _, span) in places.items()):
        if start < end:
            raise ValueError(f"{name!r} overlaps {last!r}")
        if start > end:
            raise ValueError(f"{start - end} bytes before {name!r} belong to nothing")
        end, last = stop, name
    if end != size - 8 - length:
        raise ValueError(f"its tensors end at byte {end} of {size - 8 - length}: it is cut off, or too long")
    return {n: p[0] for n, p in places.items()}, {n: p[1] for n, p in places.items()}, metadata, end


def place(name: str, entry: Any) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    """One tensor's type, shape, and first and last byte. Raises ValueError when they do not go together."""
    known = isinstance(entry, dict) and entry.keys() == {"dtype", "shape", "data_offsets"}
    if not known or not counts(entry["shape"]) or not counts(entry["data_offsets"]) or len(entry["data_offsets"]) != 2:
        raise ValueError(f"{name!r} has no type, shape and place")
    kind, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _TYPES:
        raise ValueError(f"{name!r} has type {kind}, known are {', '.join(_TYPES)}")
    if len(shape) > _MAX_DIMS or prod(n or 1 for n in shape) >= 2**63:
        raise ValueError(f"{name!r} has {len(shape)} dimensions of {shape[:_MAX_DIMS]}")
    if stop - start != prod(shape) * _TYPES[kind].itemsize:
        raise ValueError(
            f"{name!r} has {stop - start} bytes, {kind} of {shape} needs {prod(shape) * _TYPES[kind].itemsize}"
        )
    return kind, tuple(shape), (start, stop)


def counts(value: Any) -> bool:
    """A list of whole numbers that are not negative."""
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def finite(t: Tensor) -> bool:
    """Whether all are numbers. By the smallest and the largest, which NaN spreads to: isfinite would take more memory
    than the tensor has."""
    if not t.is_floating_point() or not t.numel():
        return True
    low, high = torch.aminmax(t.detach())
    return bool(torch.isfinite(low) and torch.isfinite(high))
