"""Bytes to lines of text: plain or gzip, any encoding, nothing lost and nothing guessed.

A byte that does not belong to the encoding becomes the lone surrogate U+DC00 + byte, which no valid text contains, so
that it survives splitting into columns and the whole row can be put aside with its reason by `fault`.
"""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from jorip.core.errors import DataError, did_you_mean

LONGEST = 1 << 20  # characters in a line; longer ones are almost always a broken file, and would stall a tokenizer
_CUT = "\udbff"  # stands at the end of a line that was longer
_SURROGATE = re.compile("[\ud800-\udfff]")


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + b) for b in error.object[error.start : error.end]), error.end


codecs.register_error("jorip.mark", _mark)


def find(path: str, base: Path | str = ".") -> Path:
    """The file that the YAML in folder `base` means by `path`."""
    try:
        full = Path(base) / Path(path).expanduser()
        full.exists()
    except (OSError, RuntimeError) as e:  # too long a name; ~ of an unknown user
        raise DataError(f"{path}: cannot be a file ({e})") from None
    if full.is_dir():
        raise DataError(f"{path}: is a folder; name one file in it")
    if not full.exists():
        if not full.parent.is_dir():
            raise DataError(f"{path}: no such file, and no folder {full.parent}")
        near = did_you_mean(full.name, [p.name for p in full.parent.iterdir()])
        raise DataError(f"{path}: no such file in {full.parent.absolute()}{near}")
    return full


def read_lines(path: Path, encoding: str = "utf-8", longest: int | None = LONGEST) -> Iterator[str]:
    """Lines with their end (always a bare newline), the byte order mark dropped, bad bytes marked (see `fault`)."""
    name = path.name
    try:
        with path.open("rb") as raw:
            head = raw.read(4)
            raw.seek(0)
            zipped = head[:2] == b"\x1f\x8b"
            if name.lower().endswith(".gz") and head and not zipped:
                raise DataError(f"{path}: ends in .gz but is not a gzip file (it starts with {head!r}); rename it")
            if not zipped:
                yield from _decode(raw, path, encoding, longest)
                return
            with gzip.open(raw, "rb") as unzipped:
                yield from _decode(unzipped, path, encoding, longest)
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise DataError(f"{path}: the gzip file is damaged or cut off ({e}); fetch or make it again") from None
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror or e})") from None
    except UnicodeError as e:
        raise DataError(f"{path}: is not {encoding} ({e}); set encoding: to what it is") from None


def _decode(stream, path: Path, encoding: str, longest: int | None) -> Iterator[str]:
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"
        if (bom := stream.peek(2)[:2]) in {b"\xff\xfe", b"\xfe\xff"}:
            raise DataError(f"{path}: starts with a UTF-16 mark ({bom.hex(' ')}); set encoding: utf-16")
    with io.TextIOWrapper(stream, encoding=encoding, errors="jorip.mark", newline="\n") as text:
        size = -1 if longest is None else longest + 2  # room for \r\n
        while line := text.readline(size):
            if longest is not None and len(line) == size and not line.endswith("\n"):
                while (more := text.readline(size)) and not more.endswith("\n"):
                    pass
                line = line[:200] + _CUT + "\n"
            yield line[:-2] + "\n" if line.endswith("\r\n") else line


def fault(text: str, encoding: str = "utf-8") -> str:
    """Why this line or field cannot be used; empty when it can."""
    if "\0" in text:
        return f"NUL character at {text.index(chr(0)) + 1}: is the file binary, or utf-16?"
    if not (found := _SURROGATE.search(text)):
        return ""
    if found[0] == _CUT:
        return f"line longer than {LONGEST} characters"
    byte = ord(found[0]) - 0xDC00
    if not 0 <= byte <= 255:
        return f"half a surrogate pair (U+{ord(found[0]):04X}) at character {found.start() + 1}"
    return f"not valid {encoding}: byte 0x{byte:02x} at character {found.start() + 1}{_hint(text, encoding)}"


def _hint(text: str, encoding: str) -> str:
    """The likely other encoding: Korean files of Windows are cp949."""
    if codecs.lookup(encoding).name != "utf-8":
        return ""
    raw = b"".join(bytes([ord(c) - 0xDC00]) if _SURROGATE.match(c) else c.encode() for c in text[:2000])
    try:
        guess = raw.decode("cp949", "strict" if len(text) <= 2000 else "ignore")
    except UnicodeDecodeError:
        return "; if the file is not UTF-8, set encoding: (cp949 for many Korean files of Windows)"
    return f"; as cp949 it reads {guess.strip()[:40]!r}: if that is right, set encoding: cp949"


def printable(text: str) -> str:
    """For messages and logs: marks and NULs become U+FFFD, at most 200 characters."""
    return _SURROGATE.sub("\ufffd", text[:200]).replace("\0", "\ufffd").rstrip("\n")
