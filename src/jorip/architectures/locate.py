"""Which folder holds the weights, and reading its small files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NoReturn

from jorip.core.errors import CheckpointError, did_you_mean

SPEC, WEIGHTS = "spec.json", "model.safetensors"
_MAX_JSON = 4 << 20  # bytes
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_STEP = re.compile(r"step-\d{8,18}")


def find(folder: str | Path) -> Path:
    """The folder that holds the weights: itself, or a run's best checkpoint, else its newest.

    Raises CheckpointError when there is none, saying what there is instead.
    """
    folder = Path(folder)
    if folder.is_file():
        if folder.suffix in _PICKLES:
            refuse_pickles(folder, folder.name)
        raise CheckpointError(f"{folder}: is a file: give the folder that holds {SPEC} and {WEIGHTS}")
    if not folder.is_dir():
        near = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
        close = did_you_mean(folder.name, near) if near else ""
        raise CheckpointError(f"{folder}: there is no such folder{close if 'mean' in close else ''}")
    if (folder / WEIGHTS).is_file():
        return folder
    if (folder / "ckpt").is_dir():
        return of_run(folder / "ckpt")
    if found := sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES):
        refuse_pickles(folder, found[0])
    raise CheckpointError(f"{folder}: holds no {WEIGHTS}: it is not a model's folder, a checkpoint or a run")


def of_run(ckpt: Path) -> Path:
    """The best checkpoint (`best.json` names it), else the newest."""
    if (ckpt / "best.json").is_file():
        best = parse(ckpt / "best.json", read_json(ckpt / "best.json"))
        name = best.get("name") if isinstance(best, dict) else None
        if not isinstance(name, str) or not _STEP.fullmatch(name):
            raise CheckpointError(
                f"{ckpt / 'best.json'}: damaged: it names no checkpoint; name a step's folder yourself"
            )
        if not (ckpt / name / WEIGHTS).is_file():
            raise CheckpointError(f"{ckpt}: the best checkpoint {name} is missing; name another step's folder yourself")
        return ckpt / name
    steps = sorted(p for p in ckpt.iterdir() if _STEP.fullmatch(p.name) and (p / WEIGHTS).is_file())
    if not steps:
        raise CheckpointError(f"{ckpt.parent}: this run has no checkpoint yet: train first")
    return steps[-1]


def refuse_pickles(folder: Path, name: str) -> NoReturn:
    raise CheckpointError(
        f"{folder}: {name} is a pickle, which can run any code when it is opened: jorip reads safetensors only. If you "
        "trust who made it, convert it: safetensors.torch.save_file(torch.load(path, weights_only=True), "
        f"'{WEIGHTS}')"
    )


def read_json(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_JSON:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes is too large to be a {path.name}")
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: missing: a model's folder has {SPEC} and {WEIGHTS}") from None
    except OSError as e:
        raise CheckpointError(f"{path}: cannot read ({e})") from None


def parse(path: Path, raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=constant)
    except (ValueError, RecursionError) as e:
        raise CheckpointError(f"{path}: damaged: not valid JSON ({e})") from None


def constant(word: str) -> None:
    raise ValueError(f"{word} is not a number of JSON")
