"""SIGTERM and SIGINT: the first asks the loop to finish its step and save, the second leaves at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from jorip.core.errors import Interrupted


class Signals:
    """A context in which `requested` tells whether a signal came. Does nothing outside of the main thread.

    same: seconds within which further signals count as the same one. A launcher may pass a Ctrl-C on to a process that
    the terminal has already told.
    """

    def __init__(self, same: float = 0.0) -> None:
        self.requested = False
        self.name = ""
        self._same, self._first = same, 0.0
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for s in (signal.SIGTERM, signal.SIGINT):
                self._before[s] = signal.signal(s, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for s, handler in self._before.items():
            signal.signal(s, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.requested, self.name, self._first = True, signal.Signals(number).name, time.monotonic()
        elif time.monotonic() - self._first >= self._same:
            os._exit(Interrupted.exit_code)  # whatever is half written has no manifest and does not count
