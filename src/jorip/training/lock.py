"""One process per run: a lock that the system drops when its holder dies, however it dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jorip.core.errors import ConfigError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder/lock`. ConfigError when another process does."""
    with open(folder / "lock", "a+", encoding="utf-8") as f:
        try:
            _lock(f.fileno())
        except OSError:
            f.seek(0)
            holder = f.read().strip() or "unknown"
            raise ConfigError(
                f"{folder}: is being trained by process {holder}: wait for it, stop it, or take another run folder"
            ) from None
        f.seek(0)
        f.truncate()
        f.write(str(os.getpid()))
        f.flush()
        yield


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, 1 << 30, os.SEEK_SET)  # a byte far away, so that the process id stays readable
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
