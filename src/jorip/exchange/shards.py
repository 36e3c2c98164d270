"""The weights of a folder as one mapping, read tensor by tensor: `model.safetensors`, or its shards by an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from jorip.architectures.locate import WEIGHTS, parse, read_json
from jorip.core.errors import CheckpointError
from jorip.core.tensor_file import TensorFile

INDEX = "model.safetensors.index.json"


class Shards(Mapping[str, Tensor]):
    """name -> tensor, each read when it is asked for and not kept. Raises CheckpointError for tensors that are not
    finite, named."""

    def __init__(self, files: dict[str, TensorFile]):
        self.files = files  # by tensor name

    def __getitem__(self, name: str) -> Tensor:
        t = self.files[name].read(name)
        if t.is_floating_point() and not bool(torch.isfinite(t).all()):
            raise CheckpointError(f"{self.files[name].path}: {name!r} is not finite: the file is damaged")
        return t

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def nbytes(self) -> int:
        return sum(f.nbytes for f in {id(f): f for f in self.files.values()}.values())

    def close(self) -> None:
        for file in {id(f): f for f in self.files.values()}.values():
            file.close()


def open_weights(folder: Path) -> Shards:
    """Raises CheckpointError: no weights, a shard missing or outside the folder, tensors not where the index says."""
    if not (folder / INDEX).is_file():
        file = TensorFile(folder / WEIGHTS)
        return Shards(dict.fromkeys(file.types, file))
    index = parse(folder / INDEX, read_json(folder / INDEX))
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise CheckpointError(f"{folder / INDEX}: damaged: it has no weight_map of names to files")
    files: dict[str, TensorFile] = {}
    for name in sorted(set(places.values())):
        if name != Path(name).name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{folder / INDEX}: names {name!r}, which is no safetensors file in this folder")
        files[name] = TensorFile(folder / name)
    for key, name in places.items():
        if key not in files[name].types:
            raise CheckpointError(f"{folder / name}: has no {key!r}, which the index says")
    return Shards({key: files[name] for key, name in places.items()})
