"""From a spec and a tensor file to a model: everything is checked before memory is taken."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from jorip.architectures.base import Architecture, Model, from_dict
from jorip.architectures.locate import SPEC, parse
from jorip.core.errors import CheckpointError, JoripError, ResourceError
from jorip.core.process_memory import available_memory
from jorip.core.tensor_file import Digest, TensorFile
from jorip.core.weights import check_names

SUM = "sha256"  # in the weights' metadata: over spec.json and all tensors


def skeleton(path: Path, raw: bytes, file: TensorFile) -> Model:
    """The spec's model without memory."""
    tree = parse(path, raw)
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: damaged: a spec is a mapping, found {type(tree).__name__}")
    try:
        spec: Architecture = from_dict(tree)
        if spec.n_sublayers() > 16 * (1 + len(file.types)):  # building even an empty one would take minutes
            raise CheckpointError(
                f"{path}: {spec.n_sublayers()} sub-layers, but the file has {len(file.types)} tensors"
            )
        return spec.build(device="meta")
    except CheckpointError:
        raise
    except JoripError as e:
        raise CheckpointError(f"{path}: {e}") from None
    except (RuntimeError, ValueError, TypeError, OverflowError, ArithmeticError, RecursionError) as e:
        raise CheckpointError(f"{path}: no model can be built from this spec ({e})") from None


def fits(file: TensorFile) -> None:
    free = available_memory()
    if free is not None and file.nbytes > free:
        raise ResourceError(f"{file.path}: {file.nbytes / 2**30:.1f} GiB of weights, {free / 2**30:.1f} GiB are free")


def fill(model: Model, file: TensorFile, spec: bytes) -> None:
    """Every parameter and buffer gets its tensor, in the file's dtype; shared ones stay shared."""
    state = model.state_dict(keep_vars=True)
    groups: dict[int, list[str]] = {}
    for name, t in state.items():
        groups.setdefault(id(t), []).append(name)
    first = {name: names[0] for names in groups.values() for name in names}
    check_header(file, state, first)
    tensors, digest, bad = {}, Digest(), []
    digest.text(spec)
    for name in sorted(file.types):
        t = file.read(name)
        if SUM in file.metadata:
            digest.tensor(name, t)
        if t.is_floating_point() and not bool(torch.isfinite(t).all()):
            bad.append(name)
        other = tensors.setdefault(first[name], t)
        if other is not t and not torch.equal(other, t):
            raise CheckpointError(f"{file.path}: {name!r} differs from {first[name]!r}, and this model shares them")
    if file.metadata.get(SUM, digest.hex()) != digest.hex():
        raise CheckpointError(f"{file.path}: damaged: it or {SPEC} is not as it was saved")
    if bad:
        raise CheckpointError(f"{file.path}: not finite: {', '.join(bad[:5])}{' ...' if len(bad) > 5 else ''}")
    put(model, tensors, first)


def check_header(file: TensorFile, state: dict[str, Tensor], first: dict[str, str]) -> None:
    """Names, shapes, types and shared tensors are the model's. first: name -> first name of the same tensor."""
    there = {first[name] for name in file.shapes if name in first}
    want = [name for name in first if name in file.shapes or (name == first[name] and name not in there)]
    try:
        check_names(file.shapes, {name: state[name].shape for name in want})
    except CheckpointError as e:
        raise CheckpointError(f"{file.path}: {e}") from None
    for name in file.types:
        model, dtype = state[name].dtype, file.dtype(name)
        if dtype != model and not (model.is_floating_point and dtype.is_floating_point):
            raise CheckpointError(f"{file.path}: {name!r} has type {dtype}, the model has {model}")
    for alias, name in file.aliases.items():
        if alias not in first or first[alias] != first.get(name):
            raise CheckpointError(f"{file.path}: shares {alias!r} with {name!r}, and this model does not")


def put(model: Model, tensors: dict[str, Tensor], first: dict[str, str]) -> None:
    """tensors by first name become the model's parameters and buffers."""
    model.to_empty(device="cpu")
    for module in model.modules():
        if (reset := getattr(module, "reset", None)) is not None:
            reset()  # buffers that are made, not stored
    parameters = {name: nn.Parameter(t) for name, t in tensors.items() if t.is_floating_point()}
    for name, source in first.items():
        path, _, leaf = name.rpartition(".")
        owner = model.get_submodule(path)
        if leaf in owner._parameters:
            owner._parameters[leaf] = parameters[source]
        else:
            owner._buffers[leaf] = tensors[source]
