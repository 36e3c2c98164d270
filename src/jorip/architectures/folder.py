"""A model in a folder: `spec.json` (the spec) and `model.safetensors` (the weights, shared ones once).

`save` writes such folders; `load` reads them, a trainer's checkpoints and whole runs (their best checkpoint). Nothing
in a folder is ever run: weights are safetensors, never pickles, and a spec names parts that are registered already.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from uuid import uuid4

import torch
from torch import Tensor

from jorip.architectures.base import Model
from jorip.architectures.fill import SUM, fill, fits, skeleton
from jorip.architectures.locate import SPEC, WEIGHTS, find, parse, read_json
from jorip.core import tensor_file
from jorip.core.errors import CheckpointError, ConfigError, NonFiniteError, ResourceError, did_you_mean
from jorip.core.tensor_file import Digest, TensorFile

__all__ = ["find", "load", "save"]

MANIFEST = "manifest.json"  # of a trainer's checkpoint


def save(model: Model, folder: str | Path, format: str = "jorip") -> Path:
    """Writes the model; a reader sees the old folder or the new one whole, also after a crash.

    Other files of an existing folder (a tokenizer, say) stay. Raises NonFiniteError for weights that are not numbers,
    ResourceError when the disk is full, ConfigError for another format.
    """
    if format != "jorip":
        raise ConfigError(f"save: there is no format {format!r}{did_you_mean(format, ['jorip'])}")
    folder = Path(folder).absolute()
    tensors = model.state_dict()
    if bad := not_finite(tensors):
        raise NonFiniteError(f"{folder}: not saved, because these weights are not finite: {', '.join(bad[:5])}")
    spec = (json.dumps(model.spec.to_dict(), ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    digest = Digest()
    digest.text(spec)
    for name, t in sorted(tensor_file.once(tensors)[0].items()):
        digest.tensor(name, t)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = folder.with_name(f".{folder.name}.tmp-{uuid4().hex[:8]}")
        aside.mkdir()
    except OSError as e:
        raise ResourceError(f"{folder}: cannot write: {e}") from e
    try:
        tensor_file.write(aside / WEIGHTS, tensors, {SUM: digest.hex()})
        with open(aside / SPEC, "wb") as f:
            f.write(spec)
            f.flush()
            os.fsync(f.fileno())
        install(aside, folder)
    except OSError as e:
        raise ResourceError(f"{folder}: cannot write: {e}: free some space, or choose another folder") from e
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def install(aside: Path, folder: Path) -> None:
    """A new folder appears at once. In an existing one the two files are replaced; should that be interrupted between
    them, their common checksum says so when they are loaded."""
    sync(aside)
    if folder.exists():
        (folder / MANIFEST).unlink(missing_ok=True)  # a trainer's checkpoint that is overwritten is no longer one
        for name in (WEIGHTS, SPEC):
            os.replace(aside / name, folder / name)
        sync(folder)
    else:
        os.rename(aside, folder)
    sync(folder.parent)


def sync(folder: Path) -> None:
    """Waits until the folder's names are on the disk. Windows has no such call."""
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def load(folder: str | Path, device: str | torch.device = "cpu") -> Model:
    """The model of a folder that `save` wrote, of a checkpoint, or of a run (its best checkpoint), in evaluation mode
    and in the file's dtypes.

    Raises CheckpointError when anything is missing, too much, damaged, not finite or not of this model, with the names;
    ResourceError when it does not fit in memory.
    """
    folder = find(folder)
    raw = read_json(folder / SPEC)
    file = TensorFile(folder / WEIGHTS)
    try:
        check_manifest(folder)
        model = skeleton(folder / SPEC, raw, file)
        fits(file)
        fill(model, file, raw)
    finally:
        file.close()
    return model.to(device).eval()


def check_manifest(folder: Path) -> None:
    """The two files are as a trainer's manifest says, where there is one."""
    path = folder / MANIFEST
    if not path.is_file():
        return
    manifest = parse(path, read_json(path))
    for name in (SPEC, WEIGHTS):
        try:
            want = manifest["files"][name]["sha256"]
        except (KeyError, TypeError, IndexError):
            raise CheckpointError(f"{path}: damaged: it does not list {name}") from None
        with open(folder / name, "rb") as f:
            if hashlib.file_digest(f, "sha256").hexdigest() != want:
                raise CheckpointError(f"{folder / name}: damaged: its sha256 is not the one that was written")


def not_finite(tensors: dict[str, Tensor]) -> list[str]:
    return [n for n, t in tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
