"""Named places at which a test can stop the process: JORIP_FAILPOINT="save.rename:2" kills it at the second passage.

`name:count[:action]`, several separated by commas. Actions: kill (SIGKILL, the default), term (SIGTERM to itself), full
(the disk is full). Unarmed, a place costs one look at a global.
"""

import errno
import os
import signal

_armed: dict[str, tuple[int, str]] = {}


def arm(text: str) -> None:
    """Sets the failpoints; an empty text disarms."""
    _armed.clear()
    for item in filter(None, text.split(",")):
        name, _, rest = item.partition(":")
        count, _, action = rest.partition(":")
        _armed[name] = (int(count or 1), action or "kill")


def hit(name: str) -> None:
    """A named place; does nothing unless armed."""
    if _armed and name in _armed:
        _count(name)


def _count(name: str) -> None:
    left, action = _armed[name]
    _armed[name] = (left - 1, action)
    if left != 1:
        return
    if action == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.kill(os.getpid(), signal.SIGTERM if action == "term" else getattr(signal, "SIGKILL", signal.SIGTERM))


arm(os.environ.get("JORIP_FAILPOINT", ""))
