"""One safetensors file, written whole and read with suspicion.

Several names for one tensor (tied weights) are stored once; the others are written to the header's metadata as
{"alias:<name>": "<stored name>"}. `digest` is a sum over names, types, shapes and bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from jorip.core.errors import CheckpointError, ResourceError

_ALIAS = "alias:"
_MAX_HEADER = 16 << 20  # bytes; a name with its place takes about 150, so this is a hundred thousand tensors
_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_TYPES |= {"I64": torch.int64, "I32": torch.int32, "BOOL": torch.bool}


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

    Raises CheckpointError for whatever is not a whole, plain safetensors file.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            size = path.stat().st_size
            with open(path, "rb") as f:
                header = int.from_bytes(f.read(8), "little")
            if size < 10 or header > size - 8:
                raise ValueError(f"{size} bytes with a header of {header}: it is cut off, or not a safetensors file")
            if header > _MAX_HEADER:
                raise ValueError(f"its header claims {header} bytes")
            self.file: Any = safe_open(path, framework="pt").__enter__()
            slices = {name: self.file.get_slice(name) for name in self.file.keys()}  # noqa: SIM118 (not a dict)
            self.types = {name: str(s.get_dtype()) for name, s in slices.items()}
            self.shapes = {name: tuple(s.get_shape()) for name, s in slices.items()}
            self.metadata: dict[str, str] = dict(self.file.metadata() or {})
        except FileNotFoundError:
            raise CheckpointError(f"{path}: missing") from None
        except Exception as e:  # a damaged header reaches safetensors, and what it raises is not in its interface
            raise CheckpointError(f"{path}: not a readable safetensors file ({e})") from None
        self.aliases = {k.removeprefix(_ALIAS): v for k, v in self.metadata.items() if k.startswith(_ALIAS)}
        self.nbytes = size - 8 - header
        for name, kind in self.types.items():
            if kind not in _TYPES:
                raise CheckpointError(f"{path}: {name!r} has type {kind}, known are {', '.join(_TYPES)}")

    def dtype(self, name: str) -> torch.dtype:
        return _TYPES[self.types[name]]

    def read(self, name: str) -> Tensor:
        """A tensor in memory of its own (the file may go away afterwards)."""
        try:
            return self.file.get_tensor(name).clone()
        except Exception as e:
            raise CheckpointError(f"{self.path}: cannot read {name!r} ({e})") from None

    def close(self) -> None:
        self.file.__exit__(None, None, None)
