"""fp32 or bf16 autocast: chosen by measuring the real model on a real batch, where the machine has bf16 arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

GAIN = 1.2  # bf16 must be so much faster to be worth its rounding, and to be chosen again by the next run
SHORT = 0.02  # seconds on a CPU, below which a measurement says as much of the machine's other work


def has_bf16(device: torch.device) -> bool:
    """True when the device multiplies bf16 faster than by converting to fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
    return False


def choose(wanted: str, device: torch.device, run: Callable[[AbstractContextManager], None]) -> dict:
    """{"precision": "fp32" | "bf16", "why": ...} for `auto`, `fp32` or `bf16`.

    run: one forward and backward inside the given autocast context; called eight times at most.
    """
    if wanted != "auto":
        return {"precision": wanted, "why": "set"}
    if not has_bf16(device):
        return {"precision": "fp32", "why": f"this {device.type} has no bf16 arithmetic"}
    _timed(run, "fp32", device)  # the first pass allocates and tunes
    once = min(_timed(run, "fp32", device) for _ in range(3))
    if device.type == "cpu" and once < SHORT:
        return {"precision": "fp32", "why": f"a forward and backward of {1000 * once:.2g} ms is too short to measure"}
    rounds = [{p: _timed(run, p, device) for p in ("fp32", "bf16")} for _ in range(2)]
    seconds = {p: min(r[p] for r in rounds) for p in ("fp32", "bf16")}
    faster = seconds["bf16"] * GAIN < seconds["fp32"]
    return {
        "precision": "bf16" if faster else "fp32",
        "why": f"measured: fp32 {seconds['fp32']:.3g} s, bf16 {seconds['bf16']:.3g} s for a forward and backward",
    }


def _timed(run: Callable[[AbstractContextManager], None], precision: str, device: torch.device) -> float:
    start = time.perf_counter()
    run(autocast(precision, device))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The context for one forward."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
