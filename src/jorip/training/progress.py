"""What a person sees of a run: a bar in a terminal, plain lines elsewhere, nothing from ranks other than 0."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

_REFRESH = 0.25  # seconds between redraws; they happen in the loop, so that no thread competes with it


def clock(seconds: float) -> str:
    """1:02:03 or 4:05."""
    m, s = divmod(round(seconds), 60)
    h, m = divmod(m, 60)
    return f"{h}:{m:02}:{s:02}" if h else f"{m}:{s:02}"


def count_text(n: float) -> str:
    """12.3k, 4.5M."""
    for unit in ("", "k", "M"):
        if n < 1000:
            return f"{n:.0f}" if not unit else f"{n:.1f}{unit}"
        n /= 1000
    return f"{n:.1f}G"


def number(value: Any) -> str:
    """A metric in four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Progress:
    """Shows steps, log lines, evaluations and notices. `console` None: rich's own, on standard error."""

    def __init__(self, console: Console | None, visible: bool) -> None:
        self.console = console or Console(stderr=True)
        self.visible = visible
        self._bar: Bar | None = None
        self._task = TaskID(0)
        self._next = 0.0
        self._text = ""

    def __enter__(self) -> Progress:
        if self.visible and self.console.is_terminal:
            columns = (BarColumn(20), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.description}"))
            bar = self._bar = Bar(*columns, console=self.console, auto_refresh=False, transient=True)
            self._task = bar.add_task("starting", total=1.0)
            bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def notice(self, text: str) -> None:
        """Something the user should know."""
        if self.visible:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def step(self, step: int, done: float, seconds: float) -> None:
        """After each step: cheap unless it is time to redraw. done: share of the run, 0 to 1."""
        if self._bar is None or (now := time.monotonic()) < self._next:
            return
        self._next = now + _REFRESH
        left = f"{clock(seconds * (1 - done) / done)} left" if done > 0 else ""
        self._bar.update(self._task, completed=done, description=f"step {step}  {self._text}{left}")
        self._bar.refresh()

    def log(self, fields: dict[str, Any], done: float, padding: float | None) -> None:
        """At each log line."""
        parts = [
            f"loss {number(fields['loss'])}",
            *(f"{name} {number(value)}" for name, value in fields.get("aux", {}).items()),
            f"lr {fields['lr']:.2e}",
            f"{count_text(fields['tokens_per_second'])} tokens/s",
        ]
        if padding is not None:
            parts.append(f"padding {100 * padding:.0f} %")
        self._text = "  ".join(parts) + "  "
        if self.visible and self._bar is None:
            left = clock(fields["seconds"] * (1 - done) / done) if done > 0 else "?"
            self.notice(f"step {fields['step']}  epoch {fields['epoch']:.2f}  {self._text}{left} left")

    def evaluation(self, step: int, metrics: dict[str, float], best: bool) -> None:
        """At each evaluation."""
        text = "  ".join(f"{k} {number(v)}" for k, v in metrics.items())
        self.notice(f"step {step}  validation: {text}{'  (best so far)' if best else ''}")
