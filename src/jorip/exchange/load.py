"""`jorip.load`: a model from a folder of ours, or from a Hugging Face folder, read by the rules of its recipe.

Nothing in a folder is ever run. What a config says is checked against the weights' headers before memory is taken;
every field and every key is accounted for, and the account is `model.origin.report`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from jorip.architectures import folder as ours
from jorip.architectures.base import Architecture, Model
from jorip.architectures.locate import SPEC
from jorip.core.errors import CheckpointError, ResourceError
from jorip.core.process_memory import available_memory
from jorip.core.spec import flatten
from jorip.core.weights import Account, NotTied, Rules, Tied
from jorip.exchange import report
from jorip.exchange.families import family
from jorip.exchange.hub import HUB, fetch
from jorip.exchange.install import CONFIG, UNFINISHED
from jorip.exchange.origin import Origin, read_origin
from jorip.exchange.shards import Shards, open_weights, small_json
from jorip.exchange.vocabulary import check_vocabulary
from jorip.recipes.family import Config, Family, least
from jorip.recipes.fields import short


def load(folder: str | Path, device: str | torch.device = "cpu") -> Model:
    """The model of a folder, in evaluation mode and in the file's dtypes.

    folder: one that `jorip.save` wrote, a run or a checkpoint of a run, a Hugging Face folder (`config.json` and
    `model.safetensors`, whole or in shards), or `hf:org/name@revision`: such a folder on the hub, of which only the
    files that are needed are downloaded (without a revision: the newest commit, which is printed).

    `model.origin` is what the folder said beside its weights, `model.origin.report` what became of every field and
    key; it is None for models that never were somebody else's.

    Raises CheckpointError when anything is missing, too much, damaged, not finite or not known, with the names;
    ResourceError when it does not fit in memory.
    """
    path, source = find(folder)
    if is_theirs(path):
        return read_folder(path, source).to(device).eval()
    model = ours.load(path, device)
    model.origin = read_origin(ours.find(path))
    return model


def look(folder: str | Path) -> tuple[Architecture, Origin]:
    """The spec and the load report of a Hugging Face folder, from its config and the weights' headers alone."""
    path, source = find(folder)
    plan = prepare(path, source)
    plan.weights.close()
    return plan.model.spec, plan.origin


def find(folder: str | Path) -> tuple[Path, str]:
    """Where it is on this machine, and what it is called."""
    if str(folder).startswith(HUB):
        return fetch(str(folder))
    return Path(folder), str(folder)


def is_theirs(folder: Path) -> bool:
    """A Hugging Face folder, rather than one of ours."""
    if (folder / UNFINISHED).exists():
        raise CheckpointError(f"{folder}: a save was interrupted here, so its files do not belong together: save again")
    return (folder / CONFIG).is_file() and not (folder / SPEC).is_file()


class Plan(NamedTuple):
    """Everything about a folder but the numbers: a model without memory, and the rules that will fill it. unread: keys
    that nothing of ours needs but that their class has."""

    model: Model
    rules: Rules
    weights: Shards
    origin: Origin
    unread: list[str]


def read_folder(folder: Path, source: str = "") -> Model:
    """A Hugging Face folder's model on the CPU."""
    model, rules, weights, origin, idle = prepare(folder, source)
    try:
        fill(model, rules.load(weights, wanted(model), own=True))
        origin.unread = {key: weights[key].clone() for key in idle}
    except NotTied as e:
        raise named(folder, CheckpointError(f"{e}{untied(origin, e.rule)}")) from None
    except CheckpointError as e:
        raise named(folder, e) from None
    finally:
        weights.close()
    model.origin = origin
    return model


def prepare(folder: Path, source: str = "") -> Plan:
    """Reads the config, and checks it against the weights' headers."""
    values = read_config(folder)
    kind = family(values.get("model_type"), str(folder / CONFIG))
    head = head_of(values, kind, folder)
    config = Config(values, str(folder / CONFIG))
    weights = open_weights(folder)
    config.keys = frozenset(weights)
    try:
        model, account = skeleton(kind.read(config, head), weights, folder), Account()
        check_vocabulary(folder, embeddings(model))
        rules = kind.rules(model.spec)
        for name, t in rules.load(weights.empty(), wanted(model), account).items():
            if not t.is_floating_point():
                raise CheckpointError(f"the weight of {name!r} has type {t.dtype}, which holds no weights")
    except CheckpointError as e:
        weights.close()
        raise named(folder, e) from None
    except BaseException:
        weights.close()
        raise
    origin = Origin.of(kind.model_type, head, values, folder, source)
    origin.prefixed = account.prefixed
    origin.account = report.account(kind, head, config, weights, account, model)
    origin.lines = report.lines(origin.account, origin.source)
    return Plan(model, rules, weights, origin, unread(rules, model, account))


def unread(rules: Rules, model: Model, account: Account) -> list[str]:
    """Their keys that were ignored, and that a file of theirs lacks when they are not written."""
    ignored = {key for done, _, keys in account.rows.values() if done.startswith("ignored") for key in keys}
    return sorted(ignored & rules.save(wanted(model), account.prefixed).keys())


def named(folder: Path, e: CheckpointError) -> CheckpointError:
    """The error with the folder in front, unless it names a file there already."""
    return e if str(e).startswith(str(folder)) else CheckpointError(f"{folder}: {e}")


def untied(origin: Origin, rule: str) -> str:
    """How to load a checkpoint whose config ties what its file does not, where the family has such models."""
    kind = family(origin.family)
    try:
        spec = kind.read(Config(origin.config | {"tie_word_embeddings": False}), origin.head)
        free = not any(t.text == rule and isinstance(r, Tied) for t, r in kind.rules(spec).rules)
    except CheckpointError:
        free = False
    if not free:
        return f"; {origin.family} has no form with two: keep the one that is right, and remove the other"
    return (
        '. If both are wanted, write "tie_word_embeddings": false into config.json; if they should be one, remove the '
        "copy from the file (transformers would drop it without a word)"
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Their config. Raises CheckpointError for one that is damaged, and for one that names code."""
    path = folder / CONFIG
    values = small_json(path)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: damaged: a config is a mapping, found {type(values).__name__}")
    for name in ("auto_map", "custom_pipelines"):
        if values.pop(name, None) is not None:
            raise CheckpointError(
                f"{path}: {name} names code to run; jorip runs none: remove the field if the model is an ordinary one"
            )
    for name in ("quantization_config", "adapter_config"):
        if values.pop(name, None) is not None:
            raise CheckpointError(f"{path}: {name}: jorip reads whole weights only: save the model without it first")
    return values


def head_of(values: Mapping[str, Any], kind: Family, folder: Path) -> str:
    """The one class that the config names; where it names none, the family's first."""
    names = values.get("architectures") or [next(iter(kind.heads))]
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise CheckpointError(
            f"{folder / CONFIG}: architectures must name one class, found {short(names)}: keep the one that the "
            f"weights are of, of {', '.join(kind.heads)}"
        )
    return names[0]


def skeleton(spec: Architecture, weights: Shards, folder: Path) -> Model:
    """The spec's model without memory, once it is known to fit the files and the machine."""
    path, free = folder / CONFIG, available_memory()
    try:
        if spec.n_sublayers() > 16 * (1 + len(weights)):  # building even an empty one would take minutes
            raise CheckpointError(
                f"{path}: this config has {spec.n_sublayers():,} sub-layers, at least "
                f"{report.size(4 * least(flatten(spec)))} in float32; the files hold {len(weights)} tensors, "
                f"{report.size(weights.nbytes)}"
            )
        model = spec.build(device="meta")
    except (CheckpointError, MemoryError):
        raise
    except Exception as e:  # parts that do not fit each other, sizes that fit no tensor
        if "overflow" in str(e):
            e = "it asks for a tensor of more than 9 EB"
        raise CheckpointError(f"{path}: no model can be built from this config ({short(str(e), 300)})") from None
    wants = sum(p.numel() for p in model.parameters())
    width = next(iter(weights.dtypes), torch.float32).itemsize
    if wants > 2 * sum(weights.dtypes.values()):
        fits = f", and {report.size(free)} of memory are free" if free else ""
        raise CheckpointError(
            f"{path}: this config asks for {wants:,} parameters, {report.size(wants * width)}; the files hold "
            f"{report.size(weights.nbytes)}{fits}: one of them is not of this model"
        )
    made = sum(b.nbytes for b in model.buffers())
    if free is not None and made > free:
        raise CheckpointError(
            f"{path}: this config asks for tables of {report.size(made)} beside the weights, {report.size(free)} of "
            "memory are free: its longest length is probably wrong"
        )
    if free is not None and weights.nbytes + made > free:
        raise ResourceError(
            f"{folder}: {report.size(weights.nbytes + made)} of weights, {report.size(free)} of memory are free"
        )
    return model


def embeddings(model: nn.Module) -> int:
    """How many tokens the model knows."""
    sides = [getattr(model, name, model) for name in ("encoder", "decoder")]
    return max(getattr(side, "vocab_size", 0) for side in sides)


def wanted(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter once, under its first name."""
    return dict(model.named_parameters())


def fill(model: Model, found: dict[str, Tensor]) -> None:
    """The weights become the model's own parameters; shared ones are shared again."""
    for name, t in found.items():
        path, _, leaf = name.rpartition(".")
        model.get_submodule(path)._parameters[leaf] = nn.Parameter(t)
    model.tie()
    with torch.no_grad():
        for module in model.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.is_meta:
                    module._buffers[name] = torch.empty_like(buffer, device="cpu")
            if (reset := getattr(module, "reset", None)) is not None:
                reset()  # buffers that are made, not stored
