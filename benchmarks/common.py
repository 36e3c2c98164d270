"""What the benchmark scripts share: where results go, which machine it was, and mean with interval."""

from __future__ import annotations

import json
import math
import os
import platform
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """The processor as the system names it, and how many cores."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    import torch

    return f"{name}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def keep(name: str, value: Any) -> None:
    """Writes benchmarks/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def mean_interval(values: list[float]) -> tuple[float, float]:
    """Mean and half of the 95 % interval of the mean (Student's t)."""
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return mean, float("nan")
    t = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}.get(n, 2.0)
    return mean, t * math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)
