"""`jorip.save`: a model into a folder of ours, or into one that transformers opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jorip.architectures import folder as ours
from jorip.architectures.base import Model
from jorip.core import tensor_file
from jorip.core.errors import CheckpointError, ConfigError, NonFiniteError, did_you_mean
from jorip.exchange.families import families, family
from jorip.exchange.origin import Origin

FORMATS = ("jorip", "hf")


def save(model: Model, folder: str | Path, format: str = "jorip") -> Path:
    """Writes the model. format: "jorip" (every model), or "hf": a folder that transformers opens, with nothing missing
    and nothing left over, for models of a family that it has.

    Raises NonFiniteError for weights that are not numbers, ResourceError when the disk is full, CheckpointError when
    no family has this model (with what differs from the closest), ConfigError for another format.
    """
    if format == "jorip":
        return ours.save(model, folder)
    if format != "hf":
        raise ConfigError(f"save: there is no format {format!r}{did_you_mean(format, FORMATS)}")
    return write_folder(model, Path(folder).absolute())


def write_folder(model: Model, folder: Path) -> Path:
    origin: Origin | None = getattr(model, "origin", None)
    config, kind = describe(model, origin)
    tensors = dict(model.named_parameters())
    if bad := ours.not_finite(tensors):
        raise NonFiniteError(f"{folder}: not saved, because these weights are not finite: {', '.join(bad[:5])}")
    found = family(kind).rules(model.spec).save(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    tensor_file.write(folder / "model.safetensors", found, {})
    text = json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    return folder


def describe(model: Model, origin: Origin | None) -> tuple[dict[str, Any], str]:
    """Their config for this model, and the family: the one it came from first, then the others."""
    names = list(families())
    if origin is not None:
        names.sort(key=lambda n: n != origin.family)
    reasons = []
    n_labels = getattr(getattr(model.spec, "readout", None), "n_classes", 2)
    for name in names:
        try:
            config, _ = family(name).write(model.spec, n_labels)
        except CheckpointError as e:
            reasons.append(str(e))
            continue
        config["dtype"] = str(model.dtype).removeprefix("torch.")
        if origin is not None:
            config |= {f"{k}_token_id": v for k, v in origin.ids.items()}
            if origin.labels:
                config["id2label"] = {str(i): n for i, n in enumerate(origin.labels)}
                config["label2id"] = {n: i for i, n in enumerate(origin.labels)}
        return config, name
    raise CheckpointError("no family of Hugging Face checkpoints has this model; the closest: " + min(reasons, key=len))
