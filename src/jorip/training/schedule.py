"""Learning-rate schedules: pure functions of the step, so that nothing has to be stored or resumed."""

from __future__ import annotations

import math

from jorip.training.config import ScheduleConfig


def factor(step: int, schedule: ScheduleConfig, total: int | None) -> float:
    """The share of the peak rate at optimizer step `step` (1 is the first).

    warmup: linear up to 1 at step `warmup`. Then, with t from 0 to 1 between `warmup` and `total`:
        constant      1
        linear        1 - (1 - min_ratio) t
        cosine        min_ratio + (1 - min_ratio) (1 + cos(pi t)) / 2      (Loshchilov and Hutter 2017, one cycle)
        inverse_sqrt  sqrt(warmup / step)                                  (Vaswani et al. 2017)
    """
    warmup = schedule.warmup
    if step <= warmup:
        return step / warmup
    if schedule.kind == "constant":
        return 1.0
    if schedule.kind == "inverse_sqrt":
        return max(schedule.min_ratio, math.sqrt(max(warmup, 1) / step))
    if total is None:
        raise ValueError(f"schedule {schedule.kind!r} needs a total number of steps")
    t = min(1.0, (step - warmup) / max(1, total - warmup))
    shape = 1 - t if schedule.kind == "linear" else (1 + math.cos(math.pi * t)) / 2
    return schedule.min_ratio + (1 - schedule.min_ratio) * shape
