"""The texts that predict and generate read: arguments, a file, or standard input."""

import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jorip.core.errors import ConfigError, DataError

Item = str | dict[str, Any]


def read_items(texts: list[str] | None, file: Path | None) -> list[Item]:
    """In order. `-` among the texts, or as the file, is standard input.

    ConfigError when there is nothing to read; DataError for bytes that are not UTF-8 and broken JSON, with the line.
    """
    if texts and file is not None:
        raise ConfigError("texts and --input were both given: give one of them")
    if file is not None:
        return list(_file(file))
    if not texts:
        if sys.stdin is None or sys.stdin.isatty():
            raise ConfigError('nothing to read: give texts ("a text" "another"), --input FILE, or - for standard input')
        texts = ["-"]
    items: list[Item] = []
    for text in texts:
        if text == "-":
            items += _lines(sys.stdin.buffer, "standard input")
        else:
            items.append(_item(text, text.lstrip()[:1] == "{", ""))
    return items


def _file(path: Path) -> Iterator[Item]:
    if str(path) == "-":
        yield from _lines(sys.stdin.buffer, "standard input")
        return
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as f:
            yield from _lines(f, str(path), ".jsonl" in path.suffixes or ".ndjson" in path.suffixes)
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise DataError(f"{path}: is not a whole gzip file ({e})") from None
    except OSError as e:
        raise DataError(f"{path}: cannot be read: {e.strerror}") from None


def _lines(stream: io.BufferedIOBase | Any, where: str, objects: bool = False) -> Iterator[Item]:
    for number, raw in enumerate(stream, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as e:
            raise DataError(
                f"{where}: line {number}: byte {e.start} is not UTF-8: convert the text, for example with "
                "`iconv -f cp949 -t utf-8`"
            ) from None
        if line or not objects:  # an empty line is a text too: outputs stay aligned with inputs
            yield _item(line, objects, f"{where}: line {number}: ")


def _item(text: str, is_object: bool, where: str) -> Item:
    if not is_object:
        return text
    try:
        value = json.loads(text)
    except ValueError as e:
        if not where:
            return text  # an argument that only looks like JSON is a text
        raise DataError(f"{where}not valid JSON ({e})") from None
    if not isinstance(value, dict):
        raise DataError(f'{where}a line must be an object like {{"text": ...}}, found {text[:60]!r}')
    return value
