"""The running Python's own standard library as a corpus: real text, on every machine, without a download.

Which files there are depends on the Python version; what is done with them does not: files are ordered and split by
the hash of their content, so the same library gives the same corpus in the same order.
"""

import hashlib
import sysconfig
import tokenize
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from jorip.core.errors import DataError

# tests are not what people write; character tables, generated help texts and the paths of one machine teach nothing
_SKIPPED = {"test", "tests", "idle_test", "encodings", "pydoc_data", "site-packages", "dist-packages", "__pycache__"}


class StdlibOptions(BaseModel, frozen=True, extra="forbid", strict=True):
    """megabytes: how much text (all splits, whole files in hash order), None = all of it, about 10.

    val, test: percent of the files.
    """

    megabytes: Annotated[float, Field(gt=0, strict=False)] | None = None
    val: Annotated[int, Field(ge=1, le=40)] = 5
    test: Annotated[int, Field(ge=1, le=40)] = 5


@lru_cache(maxsize=2)
def generate(options: StdlibOptions, folder: str | None = None) -> dict[str, list[dict[str, str]]]:
    """{train, val, test: [{text, file}]}. DataError when the library's sources are not there (a zipped Python)."""
    root = Path(folder or sysconfig.get_paths()["stdlib"])
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if _SKIPPED.intersection(name.split("/")[:-1]) or path.name.startswith("_sysconfigdata"):
            continue
        try:
            with tokenize.open(path) as f:  # reads the file's own coding line
                text = f.read()
        except (SyntaxError, UnicodeDecodeError, OSError):
            continue  # a template or a deliberately broken example, not text
        if text.strip() and "\0" not in text:
            # equal files are one, else a copy of a training file could be tested
            found.setdefault(hashlib.sha256(text.encode()).hexdigest(), (name, text))
    if not found:
        raise DataError(f"{root}: holds no .py files; this Python has no readable standard library")
    splits: dict[str, list[dict[str, str]]] = {"train": [], "val": [], "test": []}
    room = float("inf") if options.megabytes is None else options.megabytes * 1e6
    for key in sorted(found):
        name, text = found[key]
        if (room := room - len(text)) < 0 and all(splits.values()):
            break
        percent = int(key[-8:], 16) % 100
        split = "test" if percent < options.test else "val" if percent < options.test + options.val else "train"
        splits[split].append({"text": text, "file": name})
    if empty := [s for s, rows in splits.items() if not rows]:
        raise DataError(f"{root}: too few files ({len(found)}) for a {' and a '.join(empty)} split; raise val and test")
    return splits
