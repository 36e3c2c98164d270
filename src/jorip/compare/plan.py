"""What a comparison will do, known and refused before anything is trained; kept in `run.json`, which repeats it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jorip.core import plugin
from jorip.core.errors import CheckpointError, ConfigError
from jorip.training.atomic import replace_json
from jorip.training.run import hardware, versions

FORMAT = 1
KIND = "compare"
FILE = "run.json"


@dataclass
class Planned:
    """One variant: config: the whole run, resolved, seed aside; spec: its model. flops_per_token: of a forward pass,
    the mean over the training data; state_bytes: what decoding one sequence of the longest length holds, None where the
    model is not causal; seconds_per_step: as measured, for a budget of minutes."""

    label: str
    folder: str
    changes: dict[str, Any]
    config: dict[str, Any]
    spec: dict[str, Any]
    parameters: int
    flops_per_token: float
    state_bytes: int | None
    steps: int
    seconds_per_step: float | None = None


@dataclass
class Plan:
    """asked: what was asked for; a comparison is only continued when the same is asked again. differs: the resolved
    fields in which the variants' models differ, each with its values. plugins: what registered parts of users."""

    recipe: str
    asked: dict[str, Any]
    seeds: list[int]
    variants: list[Planned]
    differs: dict[str, list[Any]]
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=versions)
    hardware: dict[str, Any] = field(default_factory=hardware)
    plugins: list[dict[str, Any]] = field(default_factory=lambda: [p.record() for p in plugin.loaded()])

    @property
    def budget(self) -> str:
        ((kind, amount),) = self.asked["budget"].items()
        return f"{amount:g} {kind}"

    def runs(self) -> list[tuple[Planned, int]]:
        """Seeds first: an interrupted comparison has some of every variant."""
        return [(v, seed) for seed in self.seeds for v in self.variants]

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        replace_json(folder / FILE, {"format": FORMAT, "kind": KIND, **asdict(self)})

    @classmethod
    def read(cls, file: Path) -> Plan:
        """Raises ConfigError where there is none, or where a plugin is not loaded or has changed; CheckpointError for a
        damaged file."""
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(found, Mapping) or found.get("kind") != KIND:
                raise ConfigError(f"{file}: is not of a comparison: give the run.json that `jorip compare` wrote")
            if found["format"] > FORMAT:
                raise CheckpointError(f"{file}: written in format {found['format']}, this jorip reads up to {FORMAT}")
            known: dict[str, Any] = {k: v for k, v in found.items() if k not in ("format", "kind")}
            known["variants"] = [Planned(**v) for v in known["variants"]]
            plugin.check(known["plugins"])
            return cls(**known)
        except FileNotFoundError:
            raise ConfigError(f"{file}: is not there: give the run.json that `jorip compare` wrote") from None
        except (ValueError, KeyError, TypeError) as e:
            if isinstance(e, ConfigError | CheckpointError):
                raise
            raise CheckpointError(f"{file}: damaged ({e}): restore it, or compare into a new folder") from None


def is_plan(text: str) -> bool:
    """Whether this names the file of a comparison."""
    path = Path(text)
    return path.suffix == ".json" and path.is_file()
