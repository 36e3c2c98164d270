"""A repeated comparison beside its original: which numbers are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jorip.compare.results import Comparison
from jorip.core.errors import CheckpointError


def compared(file: Path, now: Comparison) -> dict[str, Any] | None:
    """{"numbers", "same", "largest_difference", "where"} over the scores of all runs that both have (times and memory
    are the machine's). None where the original has no results. Raises CheckpointError for a damaged file."""
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        old = {(r["variant"], r["seed"]): scores(r) for v in before["variants"] for r in v["runs"]}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as e:
        raise CheckpointError(f"{file}: damaged ({e}): delete it to repeat without comparing") from None
    pairs = {}
    for row in now.rows:
        for run in row.runs:
            name = run["variant"], run["seed"]
            for what, value in scores(run).items():
                if what in old.get(name, {}):
                    pairs[*name, what] = (old[name][what], value)
    apart = {where: abs(a - b) for where, (a, b) in pairs.items() if a != b}
    worst = max(apart, key=lambda w: apart[w], default=None)
    return {
        "numbers": len(pairs),
        "same": len(pairs) - len(apart),
        "largest_difference": apart[worst] if worst else 0.0,
        "where": None if worst is None else f"{worst[0]}, seed {worst[1]}, {worst[2]}",
    }


def scores(run: dict[str, Any]) -> dict[str, float]:
    """split.metric -> value of one run; counts (of examples, words) are no scores."""
    if "failed" in run:
        return {}
    splits = {"validation": run["validation"], **run["test"]}
    return {f"{s}.{m}": v for s, found in splits.items() for m, v in found.items() if isinstance(v, float)}
