"""The weights of a folder as one mapping, read tensor by tensor: `model.safetensors`, or its shards by an index."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jorip.architectures.locate import WEIGHTS, read_json
from jorip.core.errors import CheckpointError, did_you_mean
from jorip.core.strict_json import loads
from jorip.core.tensor_file import TensorFile, finite

INDEX = "model.safetensors.index.json"
_FOREIGN = {".bin": "a pickle", ".pt": "a pickle", ".pth": "a pickle", ".ckpt": "a pickle", ".pkl": "a pickle"}
_PLAIN = re.compile(r"[\w.+-]+", re.ASCII)
_FOREIGN |= {".h5": "TensorFlow's", ".msgpack": "Flax's", ".onnx": "ONNX's", ".gguf": "llama.cpp's"}


class Shards(Mapping[str, Tensor]):
    """name -> tensor in the file's own pages, so that nothing is in memory before it is copied. Raises CheckpointError
    for tensors that are not finite, named."""

    def __init__(self, files: dict[str, TensorFile]):
        self.files = files  # by tensor name

    def __getitem__(self, name: str) -> Tensor:
        t = self.files[name].view(name)
        if not finite(t):
            raise CheckpointError(f"{self.files[name].path}: {name!r} is not finite: the file is damaged")
        return t

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def empty(self) -> dict[str, Tensor]:
        """The same without memory: types and shapes only."""
        return {n: torch.empty(f.shapes[n], dtype=f.dtype(n), device="meta") for n, f in self.files.items()}

    @property
    def opened(self) -> list[TensorFile]:
        return list({id(f): f for f in self.files.values()}.values())

    @property
    def nbytes(self) -> int:
        return sum(f.nbytes for f in self.opened)

    @property
    def dtypes(self) -> dict[torch.dtype, int]:
        """Type -> how many numbers, the most frequent first."""
        found: Counter[torch.dtype] = Counter()
        for name, file in self.files.items():
            found[file.dtype(name)] += prod(file.shapes[name])
        return dict(found.most_common())

    def close(self) -> None:
        for file in self.opened:
            file.close()


def open_weights(folder: Path) -> Shards:
    """Raises CheckpointError: no weights, a shard missing or outside the folder, tensors not where the index says."""
    if (folder / WEIGHTS).is_file():  # as transformers does where there is an index too
        file = TensorFile(inside(folder, WEIGHTS))
        return Shards(dict.fromkeys(file.types, file))
    if not (folder / INDEX).is_file():
        raise CheckpointError(f"{folder}: {no_weights(folder)}")
    places = read_index(folder / INDEX)
    files: dict[str, TensorFile] = {}
    for name in sorted(set(places.values())):
        if name != Path(name).name or "\\" in name or "\0" in name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{folder / INDEX}: names {name!r}, which is no safetensors file in this folder")
        files[name] = TensorFile(inside(folder, name))
    for name, file in files.items():
        here = {key for key, place in places.items() if place == name}
        if missing := sorted(here - set(file.types)):
            raise CheckpointError(
                f"{folder / name}: has no {missing[0]!r}, which the index says{did_you_mean(missing[0], file.types)}"
            )
        if more := sorted(set(file.types) - here):
            raise CheckpointError(f"{folder / name}: has {more[0]!r}, which the index does not put there")
    return Shards({key: files[name] for key, name in places.items()})


def read_index(path: Path) -> dict[str, str]:
    """Tensor -> file."""
    index: Any = small_json(path)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(v, str) for v in places.values()):
        raise CheckpointError(f"{path}: damaged: it has no weight_map of names to files")
    return places


def small_json(path: Path) -> Any:
    """A JSON file of a folder. Raises CheckpointError when it is missing, too large or damaged."""
    try:
        return loads(read_json(path))
    except CheckpointError:
        raise
    except ValueError as e:
        raise CheckpointError(f"{path}: damaged: not valid JSON ({e})") from None


def inside(folder: Path, name: str) -> Path:
    """The file, unless it is a link that leads out of the folder. The hub's cache keeps a snapshot's files in a folder
    beside it, which counts as inside."""
    path, home = folder / name, folder.resolve()
    if path.is_symlink():
        parent = path.resolve().parent
        hub = home.parent.name == "snapshots" and parent == home.parent.parent / "blobs"
        if not parent.is_relative_to(home) and not hub:
            raise CheckpointError(f"{path}: is a link that leads out of the folder, to {path.resolve()}: copy the file")
    return path


def no_weights(folder: Path) -> str:
    """What there is instead of safetensors, and what to do."""
    for name in sorted(p.name for p in folder.iterdir()):
        kind = _FOREIGN.get(Path(name).suffix)
        if kind == "a pickle":
            why = f"{name} is a pickle, which can run any code when it is opened: jorip reads safetensors only"
            if not _PLAIN.fullmatch(name):  # a name can be code, too, in a command that is copied into a shell
                return f"{why}: save it again as {WEIGHTS}, if you trust who made it"
            return (
                f"{why}. If you trust who made it, "
                'convert it: python -c "import torch, safetensors.torch as s; s.save_file({k: '
                f"t.clone().contiguous() for k, t in torch.load('{name}', weights_only=True).items()}}, "
                f"'{WEIGHTS}', {{'format': 'pt'}})\""
            )
        if kind:
            return f"{name} is {kind} format, and there is no {WEIGHTS}: convert it with the library that wrote it"
    return f"holds a config.json but no {WEIGHTS} and no {INDEX}: put the weights beside it"
