"""What to keep for the search when losses or gradients stop being numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from jorip.training.atomic import replace_json
from jorip.training.events import plain


def dump(folder: Path, step: int, model: nn.Module, facts: dict[str, Any]) -> Path:
    """Writes `nonfinite-step-N.json`: the facts (batch ids, loss) and the norm of every weight and gradient."""
    path = folder / f"nonfinite-step-{step:08d}.json"
    norms = {
        name: {"weight": float(p.detach().norm()), "gradient": None if p.grad is None else float(p.grad.norm())}
        for name, p in model.named_parameters()
    }
    replace_json(path, plain({"step": step, **facts, "norms": norms}))
    return path


def first_names(names: list[str], most: int = 5) -> str:
    """A few names for a message."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
