"""`jorip.load`: a model from a folder of ours, or from a Hugging Face folder, read by the rules of its recipe.

Nothing in a folder is ever run. What a config says is checked against the weights' headers before memory is taken;
every field and every key is accounted for, and the account is `model.origin.report`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jorip.architectures import folder as ours
from jorip.architectures.base import Architecture, Model
from jorip.architectures.fill import available_memory
from jorip.architectures.locate import SPEC, parse, read_json
from jorip.core.errors import CheckpointError, JoripError, ResourceError
from jorip.exchange.families import family
from jorip.exchange.origin import Origin
from jorip.exchange.shards import Shards, open_weights
from jorip.recipes.family import Config, Family

CONFIG = "config.json"


def load(folder: str | Path, device: str | torch.device = "cpu") -> Model:
    """The model of a folder, in evaluation mode and in the file's dtypes.

    folder: one that `jorip.save` wrote, a run or a checkpoint of a run, or a Hugging Face folder (`config.json` and
    `model.safetensors`, whole or in shards). Raises CheckpointError when anything is missing, too much, damaged, not
    finite or not known, with the names; ResourceError when it does not fit in memory.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file() or (folder / SPEC).is_file():
        return ours.load(folder, device)
    return read_folder(folder).to(device).eval()


def read_folder(folder: Path) -> Model:
    """A Hugging Face folder's model on the CPU."""
    values = read_config(folder)
    kind = family(str(values.get("model_type")))
    head = head_of(values, kind, folder)
    config = Config(values, str(folder / CONFIG))
    weights = open_weights(folder)
    try:
        spec = kind.read(config, head)
        model = skeleton(spec, weights, folder)
        fill(model, kind.rules(spec).load(weights, wanted(model)))
    except CheckpointError as e:
        where = "" if str(e).startswith(str(folder)) else f"{folder}: "
        raise CheckpointError(f"{where}{e}") from None
    finally:
        weights.close()
    model.origin = Origin(kind.model_type, head, special_ids(values), labels(values), folder)  # type: ignore[assignment]
    return model


def read_config(folder: Path) -> dict[str, Any]:
    values = parse(folder / CONFIG, read_json(folder / CONFIG))
    if not isinstance(values, dict):
        raise CheckpointError(f"{folder / CONFIG}: damaged: a config is a mapping, found {type(values).__name__}")
    if "auto_map" in values:
        raise CheckpointError(
            f"{folder / CONFIG}: auto_map names code to run; jorip runs none: remove the field if the model is an "
            "ordinary one"
        )
    return values


def head_of(values: Mapping[str, Any], kind: Family, folder: Path) -> str:
    """The one class that the config names; where it names none, the family's first."""
    names = values.get("architectures") or [next(iter(kind.heads))]
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise CheckpointError(f"{folder / CONFIG}: architectures must name one class, found {names!r}")
    return names[0]


def skeleton(spec: Architecture, weights: Shards, folder: Path) -> Model:
    """The spec's model without memory, once it is known to fit the files and the machine."""
    if spec.n_sublayers() > 16 * (1 + len(weights)):  # building even an empty one would take minutes
        raise CheckpointError(f"{folder / CONFIG}: {spec.n_sublayers()} sub-layers, but {len(weights)} tensors")
    try:
        model = spec.build(device="meta")
    except CheckpointError:
        raise
    except (JoripError, RuntimeError, ValueError, TypeError, OverflowError, ArithmeticError) as e:
        raise CheckpointError(f"{folder / CONFIG}: no model can be built from this config ({e})") from None
    free = available_memory()
    if free is not None and weights.nbytes > free:
        raise ResourceError(f"{folder}: {weights.nbytes / 2**30:.1f} GiB of weights, {free / 2**30:.1f} GiB are free")
    return model


def wanted(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter once, under its first name."""
    return dict(model.named_parameters())


def fill(model: Model, found: dict[str, Tensor]) -> None:
    """The weights become the model's own parameters; shared ones are shared again."""
    for name, t in found.items():
        path, _, leaf = name.rpartition(".")
        model.get_submodule(path)._parameters[leaf] = nn.Parameter(t.contiguous())
    model.tie()
    with torch.no_grad():
        for module in model.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.is_meta:
                    module._buffers[name] = torch.empty_like(buffer, device="cpu")
            if (reset := getattr(module, "reset", None)) is not None:
                reset()  # buffers that are made, not stored


def special_ids(values: Mapping[str, Any]) -> dict[str, Any]:
    """bos, eos, pad, decoder_start ...: what `<name>_token_id` says."""
    return {k.removesuffix("_token_id"): v for k, v in values.items() if k.endswith("_token_id") and v is not None}


def labels(values: Mapping[str, Any]) -> list[str]:
    names = values.get("id2label")
    if not isinstance(names, Mapping):
        return []
    return [str(names.get(str(i), f"LABEL_{i}")) for i in range(len(names))]
