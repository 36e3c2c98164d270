"""`jorip.save`: a model into a folder of ours, or into one that transformers opens."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jorip.architectures import folder as ours
from jorip.architectures.base import Model
from jorip.architectures.locate import WEIGHTS
from jorip.core import tensor_file
from jorip.core.errors import CheckpointError, ConfigError, NonFiniteError, did_you_mean
from jorip.exchange.families import families, family
from jorip.exchange.generation import GENERATION
from jorip.exchange.install import CONFIG, copy, replacing, write_json
from jorip.exchange.origin import ORIGIN, Origin
from jorip.exchange.shards import INDEX
from jorip.recipes.family import HOUSEKEEPING, Config, Family, NotOurs, Unused, get

FORMATS = ("jorip", "hf")
SHARD = 5 * 10**9  # bytes: what transformers cut at for years, so that every tool opens it


def save(model: Model, folder: str | Path, format: str = "jorip", max_shard_bytes: int = SHARD) -> Path:
    """Writes the model, in its own dtypes. format: "jorip" (every model), or "hf": a folder that transformers opens,
    with nothing missing and nothing left over, for models of a family that it has. What came with a loaded checkpoint
    (tokenizer, labels, special ids, generation settings) is written too, in both.

    A reader sees the old folder or the new one; other files of an existing folder stay. max_shard_bytes: of format
    "hf", weights larger than this become several files with an index.

    Raises NonFiniteError for weights that are not numbers, ResourceError when the disk is full, CheckpointError when
    no family has this model (with what differs from the closest), ConfigError for another format.
    """
    if format not in FORMATS:
        raise ConfigError(f"save: there is no format {format!r}{did_you_mean(format, FORMATS)}")
    if type(max_shard_bytes) is not int or max_shard_bytes < 1:
        raise ConfigError(f"save: max_shard_bytes is a number of bytes above 0, found {max_shard_bytes!r}")
    folder = Path(folder).absolute()
    tensors: dict[str, Tensor] = dict(model.state_dict())
    if bad := [n for n, t in tensors.items() if not tensor_file.finite(t)]:
        raise NonFiniteError(f"{folder}: not saved, because these weights are not finite: {', '.join(bad[:5])}")
    origin: Origin | None = model.origin
    files = [] if origin is None else origin.files
    if format == "hf":
        config, found = describe(model, origin)
    with replacing(folder) as aside:
        if format == "hf":
            write_json(aside / CONFIG, config)
            write_weights(found, aside, max_shard_bytes)
        else:
            ours.save(model, aside)
        if origin is not None:
            copy(files, aside)
            if format == "jorip":
                write_json(aside / ORIGIN, origin.to_dict())
            if origin.generation:
                write_json(aside / GENERATION, origin.generation)
    return folder


def describe(model: Model, origin: Origin | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Their config and weights for this model, of the family that it came from first, then of the others."""
    names = list(families())
    if origin is not None:
        names.sort(key=lambda n: n != origin.family)
    reasons: list[NotOurs] = []
    for name in names:
        kind = family(name)
        try:
            config, head = kind.write(model.spec)
        except NotOurs as e:
            reasons.append(e)
            continue
        if origin is not None and origin.family == name and not kind.differs(model.spec, config, origin.head)[0]:
            head = origin.head  # of several classes for one readout, the one that it was
        kind, config["architectures"] = owner(kind, head), [head]
        config = compose(config, head, model, kind, origin)
        found = kind.rules(model.spec).save(dict(model.named_parameters()), prefixed(kind, head, config, origin))
        for key, t in origin.unread.items() if origin is not None and origin.head == head else ():
            if key in found and found[key].shape == t.shape:
                found[key] = t.to(found[key].dtype)
        return config, found
    closest = min(reasons, key=lambda e: e.distance)
    lines = closest.lines[:6] + ([f"and {len(closest.lines) - 6} more"] if len(closest.lines) > 6 else [])
    raise CheckpointError(
        f"no family of Hugging Face checkpoints has this model. The closest is {closest.family} ({closest.head}):\n  "
        + "\n  ".join(lines)
        + '\nformat="jorip" saves every model'
    )


def owner(kind: Family, head: str) -> Family:
    """The family whose table has the head: itself, or one inside it (the encoder alone of an encoder-decoder)."""
    inner = [f for f in vars(kind).values() if isinstance(f, Family) and head in f.heads]
    return kind if head in kind.heads or not inner else inner[0]


def compose(config: dict[str, Any], head: str, model: Model, kind: Family, origin: Origin | None) -> dict[str, Any]:
    """The fields of the checkpoint that this model was, where they still mean it; else the written ones, and of the
    checkpoint's what it said beside them."""
    dtype = str(bulk(model)).removeprefix("torch.")
    if origin is None:
        return config | {"dtype": dtype}
    classes = getattr(get(model.spec, kind.readout), "n_classes", None)
    if origin.labels and classes is not None and len(origin.labels) != classes:
        raise CheckpointError(
            f"model.origin.labels names {len(origin.labels)} classes, the readout has {classes}: name them all, or set "
            "it to []"
        )
    old = origin.said() if origin.family == kind.model_type else {}
    kept = {n for n, rule in kind.fields.items() if isinstance(rule, Unused)}
    mixed = {n: v for n, v in old.items() if n in HOUSEKEEPING} | config | {n: old[n] for n in kept & set(old)}
    same = [old | {"model_type": kind.model_type, "architectures": [head]}] if old else []
    for fields in (*same, mixed | origin.told()):
        fields |= {"torch_dtype" if "torch_dtype" in fields else "dtype": dtype}
        if not (lines := kind.differs(model.spec, fields, head)[0]):
            return fields
    raise CheckpointError(
        f"what this model's checkpoint said beside its weights ({kind.model_type}) does not fit it any more:\n  "
        + "\n  ".join(lines[:6])
    )


def bulk(model: Model) -> torch.dtype:
    """The type of most of the numbers."""
    found: Counter[torch.dtype] = Counter()
    for p in model.parameters():
        found[p.dtype] += p.numel()
    return found.most_common(1)[0][0] if found else torch.float32


def prefixed(kind: Family, head: str, config: dict[str, Any], origin: Origin | None) -> bool:
    """Whether keys get the family's prefix: as the checkpoint had it; else as transformers does, which leaves it away
    where the class has no head."""
    if origin is not None and (origin.family, origin.head) == (kind.model_type, head):
        return origin.prefixed
    return kind.heads[head](Config(config)) is not None


def write_weights(found: dict[str, Tensor], folder: Path, limit: int) -> None:
    """One file, or several and an index."""
    shards = cut(found, limit)
    if len(shards) == 1:
        tensor_file.write(folder / WEIGHTS, found, {})
        return
    places = {}
    for i, shard in enumerate(shards, 1):
        name = f"model-{i:05}-of-{len(shards):05}.safetensors"
        tensor_file.write(folder / name, shard, {})
        places |= dict.fromkeys(shard, name)
    total = {"total_parameters": sum(t.numel() for t in found.values())}
    total["total_size"] = sum(t.nbytes for t in found.values())
    write_json(folder / INDEX, {"metadata": total, "weight_map": places})


def cut(found: dict[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    """In order, each shard as full as it may be; a tensor larger than the limit is alone."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, t in found.items():
        if shards[-1] and size + t.nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][name] = t
        size += t.nbytes
    return shards
