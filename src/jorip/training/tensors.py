"""Named tensors in safetensors files: several names for one tensor (tied weights) are stored once.

safetensors refuses shared memory, so the further names go into the header's metadata: {"alias:<name>": "<stored>"}.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from jorip.core.errors import CheckpointError

_ALIAS = "alias:"


def tensor_bytes(tensors: dict[str, Tensor]) -> int:
    """Bytes the tensors take on the disk."""
    return sum(t.numel() * t.element_size() for t in split_aliases(tensors)[0].values())


def split_aliases(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Distinct tensors, and further name -> first name of the same memory."""
    first: dict[tuple, str] = {}
    kept, aliases = {}, {}
    for name, t in tensors.items():
        place = (t.data_ptr(), t.shape, t.stride(), t.dtype) if t.numel() else (name,)
        if place in first:
            aliases[name] = first[place]
        else:
            first[place] = name
            kept[name] = t
    return kept, aliases


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes a safetensors file. OSError or SafetensorError when the disk cannot take it."""
    kept, aliases = split_aliases(tensors)
    # clone() would double the memory; contiguous() and cpu() copy only where they must
    kept = {name: t.detach().cpu().contiguous() for name, t in kept.items()}
    save_file(kept, path, {"format": "pt", **{_ALIAS + name: first for name, first in aliases.items()}})
    path.chmod(path.parent.stat().st_mode & 0o666)  # safetensors makes it private; a run may be shared like its folder


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file, further names included. CheckpointError when it is not one."""
    try:
        with safe_open(path, framework="pt") as f:
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 (not a dict)
            for key, first in (f.metadata() or {}).items():
                if key.startswith(_ALIAS):
                    tensors[key.removeprefix(_ALIAS)] = tensors[first]
    except (OSError, SafetensorError, KeyError) as e:
        raise CheckpointError(f"{path}: not a readable safetensors file ({e})") from None
    return tensors


def load_weights(model: nn.Module, folder: Path) -> None:
    """Loads a checkpoint's `model.safetensors`: every weight must have its place, every place its weight."""
    path = folder / "model.safetensors"
    found, want = read_tensors(path), model.state_dict()
    lines = [f"the model has no {n!r}" for n in sorted(found.keys() - want.keys())]
    lines += [f"the file has no {n!r}" for n in sorted(want.keys() - found.keys())]
    lines += [
        f"{n!r} is {tuple(found[n].shape)} in the file and {tuple(want[n].shape)} in the model"
        for n in sorted(found.keys() & want.keys())
        if found[n].shape != want[n].shape
    ]
    if lines:
        more = f"\n  and {len(lines) - 10} more" if len(lines) > 10 else ""
        raise CheckpointError(f"{path}: does not belong to this model:\n  " + "\n  ".join(lines[:10]) + more)
    model.load_state_dict(found)


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    return [n for n, t in tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
