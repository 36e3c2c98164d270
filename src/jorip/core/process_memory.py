"""The memory of this process: what there is, what it had at most, and whether it keeps what it frees.

glibc gives every block above 32 MiB back to the system when it is freed, and the kernel zeroes each of its pages again
where the next one is first touched: a quarter of the time of a layer over 16,384 rows (benchmarks/NOTES.md).
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """From now on this process keeps what it frees, up to blocks of 2 GiB, and uses it again; `give_back_memory`
    returns it. For work whose peaks repeat: the process then stays at its peak, or up to half above it, as blocks do
    not always fit where others were.

    False where the C library has no such setting (others than glibc): nothing is changed then.
    """
    with suppress(OSError, AttributeError, TypeError):
        c = ctypes.CDLL(None)
        glibc = c.gnu_get_libc_version is not None
        return glibc and bool(c.mallopt(_MMAP_THRESHOLD, _LARGEST) and c.mallopt(_TRIM_THRESHOLD, _LARGEST))
    return False


def give_back_memory() -> None:
    """What is free goes back to the system now; nothing where the C library has no such call."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def ample_memory() -> bool:
    """Whether as much as this process has had at most would fit in a second time."""
    free, most = available_memory(), largest_resident()
    return free is not None and most is not None and most <= free


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping, where the system says so."""
    try:
        with open("/proc/meminfo", encoding="ascii") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def largest_resident() -> int | None:
    """The peak of the whole process so far, data and imports included; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
