"""Files that are there whole or not at all, also after a power cut: write aside, fsync, rename, fsync the folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError

from jorip.core.errors import ResourceError
from jorip.training import failpoints


def sync_file(path: Path) -> None:
    """Waits until the file's bytes are on the disk."""
    with open(path, "rb+") as f:
        os.fsync(f.fileno())


def sync_folder(path: Path) -> None:
    """Waits until the folder's names are on the disk. Windows has no such call; its renames are journalled."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def dumps(value: Any) -> bytes:
    """The one JSON form of a value: equal values give equal bytes. NaN is refused, because JSON has none."""
    return (json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False) + "\n").encode("utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    """Writes and fsyncs a file in a folder that nobody reads yet."""
    failpoints.hit("write")
    with open(path, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def replace_json(path: Path, value: Any) -> None:
    """Replaces a JSON file in one instant. ResourceError when the disk is full."""
    aside = path.with_name(f".{path.name}.tmp-{uuid4().hex[:8]}")
    with disk_errors(path):
        try:
            write_bytes(aside, dumps(value))
            failpoints.hit("replace.rename")
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sha256(path: Path) -> str:
    """Hash of a file, read back from the disk."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def size_text(n: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} GiB"


@contextmanager
def disk_errors(path: Path, hint: str = "") -> Iterator[None]:
    """Turns a full, read-only or broken disk into a ResourceError that says what to do."""
    try:
        yield
    except (OSError, SafetensorError) as e:
        code = e.errno if isinstance(e, OSError) else None
        full = code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(
            f"os error {n})" in str(e) for n in (27, 28, 122)
        )
        what, do = ("the disk is full", "free some space") if full else (f"cannot write: {e}", "make it writable")
        raise ResourceError(f"{path}: {what}. {hint}To go on, {do} and run the same command again") from e
