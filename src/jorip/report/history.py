"""What happened in a run, from its run.json and events.jsonl. No torch: a report is quick."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jorip.core.errors import DataError

_LARGEST_HEADER = 1 << 26  # bytes, of a safetensors file: a damaged one may claim any length
POINTS = 500  # per curve: more cannot be seen, and would make the page large


@dataclass
class History:
    """facts: run.json, {} when missing. The events of each kind, in order."""

    folder: Path
    facts: dict[str, Any]
    train: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def recipe(self) -> dict[str, Any]:
        """The configuration's sections other than training."""
        return self.facts.get("recipe") or {}

    @property
    def metrics(self) -> list[str]:
        """Names of the numbers that evaluations have, `loss` first."""
        names = dict.fromkeys(n for e in self.evaluations for n in e["metrics"])
        return sorted(names, key=lambda n: n != "loss")

    @property
    def best(self) -> dict[str, Any] | None:
        """The last evaluation that was better than all before."""
        return next((e for e in reversed(self.evaluations) if e.get("best")), None)

    def curve(self, kind: str, name: str) -> list[tuple[int, float]]:
        """(step, value) of a number of `train` events or of a metric of evaluations; what is not finite is left out."""
        if kind == "train":
            pairs = [(e["step"], e.get(name)) for e in self.train]
        else:
            pairs = [(e["step"], e["metrics"].get(name)) for e in self.evaluations]
        return thin([(s, float(v)) for s, v in pairs if isinstance(v, int | float) and math.isfinite(v)])


def thin(points: list[tuple[int, float]], limit: int = POINTS) -> list[tuple[int, float]]:
    """At most `limit` points: each the mean of as many neighbours, at the last one's step."""
    width = -(-len(points) // limit)
    if width <= 1:
        return points
    groups = [points[i : i + width] for i in range(0, len(points), width)]
    return [(g[-1][0], sum(v for _, v in g) / len(g)) for g in groups]


def read_history(folder: Path) -> History:
    """DataError: no run, or a damaged file (with the line). A last line that was cut off by a kill is left out."""
    file = folder / "events.jsonl"
    if not file.is_file():
        raise DataError(f"{folder}: has no events.jsonl, so it is no run: give the folder that `jorip train` made")
    history = History(folder, _facts(folder / "run.json"))
    for number, line in enumerate(file.read_bytes().split(b"\n")[:-1], 1):
        try:
            event = json.loads(line)
            kind, _ = event["kind"], event["step"]
        except (ValueError, KeyError, TypeError) as e:
            raise DataError(f"{file}: line {number} is damaged ({type(e).__name__}: {e})") from None
        if kind == "train":
            history.train.append(event)
        elif kind == "evaluation":
            history.evaluations.append(event)
        elif kind == "samples":
            history.samples.append(event)
        elif kind == "end":
            history.end = event
    return history


def parameters(folder: Path) -> int | None:
    """Numbers in the best checkpoint's weights, shared ones counted once; None while there is no checkpoint."""
    try:
        name = json.loads((folder / "ckpt" / "best.json").read_text(encoding="utf-8"))["name"]
        with open(folder / "ckpt" / name / "model.safetensors", "rb") as f:
            header = json.loads(f.read(min(int.from_bytes(f.read(8), "little"), _LARGEST_HEADER)))
        return sum(math.prod(t["shape"]) for n, t in header.items() if n != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a damaged checkpoint is for whoever loads it to report


def _facts(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as e:
        raise DataError(f"{file}: damaged ({e})") from None
