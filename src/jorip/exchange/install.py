"""Writing a folder so that a reader sees the old one or the new one whole."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from jorip.architectures.folder import MANIFEST, sync
from jorip.architectures.locate import SPEC, WEIGHTS
from jorip.core.errors import JoripError, ResourceError
from jorip.exchange.generation import GENERATION
from jorip.exchange.origin import ORIGIN
from jorip.exchange.shards import INDEX

CONFIG = "config.json"
UNFINISHED = ".unfinished"  # there while an existing folder's files are replaced
# What a model's folder is made of, in either format: of these, only what is written now may remain.
_MODEL = re.compile("|".join(map(re.escape, (CONFIG, SPEC, WEIGHTS, INDEX, ORIGIN, GENERATION, MANIFEST))))
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `folder` when the block ends well and disappears when it does not.

    A new folder appears at once. In an existing one files are replaced one after the other; other files stay, those of
    the model that was there go, and should it be interrupted, a marker makes `load` say so. Raises ResourceError when
    the disk is full.
    """
    folder = folder.absolute()
    aside = folder.with_name(f".{folder.name}.tmp-{uuid4().hex[:8]}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
        yield aside
        install(aside, folder)
    except JoripError as e:
        inner = re.escape(str(aside.with_name(f".{aside.name}.tmp-"))) + r"\w+"  # of what is written into it
        raise type(e)(re.sub(f"{inner}|{re.escape(str(aside))}", lambda _: str(folder), str(e))) from None
    except OSError as e:
        raise ResourceError(f"{folder}: cannot write: {e}: free some space, or choose another folder") from e
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def install(aside: Path, folder: Path) -> None:
    for path in aside.iterdir():
        flush(path)
    sync(aside)
    if not folder.exists():
        os.rename(aside, folder)
    else:
        new = {p.name for p in aside.iterdir()}
        (folder / UNFINISHED).touch()
        sync(folder)
        for name in sorted(new):
            os.replace(aside / name, folder / name)
        for path in folder.iterdir():
            if path.name not in new and (_MODEL.fullmatch(path.name) or _SHARD.fullmatch(path.name)):
                path.unlink()
        sync(folder)
        (folder / UNFINISHED).unlink()
        sync(folder)
    sync(folder.parent)


def flush(path: Path) -> None:
    """Waits until a file is on the disk."""
    with open(path, "rb+") as f:
        os.fsync(f.fileno())


def write_json(path: Path, tree: Any) -> None:
    """As transformers writes its configs: sorted, two spaces."""
    text = json.dumps(tree, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")


def copy(paths: list[Path], folder: Path) -> None:
    """The contents, not links, and not modes: a cache's files are read-only."""
    for path in paths:
        shutil.copyfile(path, folder / path.name)
