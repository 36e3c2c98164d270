"""A folder of checkpoints of which the newest valid one is always found, whatever happened while another was written.

    ckpt/step-00000120/     model.safetensors  trainer.safetensors  trainer.json  what the task adds  manifest.json
    ckpt/best.json          the name of the best one

A checkpoint is written as `step-00000120.tmp-<id>`, every file fsynced, `manifest.json` (sizes, sha256) last, then the
folder is renamed. Without a valid manifest it does not exist. Old ones go only after the new one is verified.
There is no pickle: tensors are safetensors, everything else JSON.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from torch import Tensor

from jorip.core.errors import CheckpointError, ResourceError
from jorip.training import failpoints
from jorip.training.atomic import (
    disk_errors,
    dumps,
    replace_json,
    sha256,
    size_text,
    sync_file,
    sync_folder,
    write_bytes,
)
from jorip.training.tensors import tensor_bytes, write_tensors

FORMAT = 1
MANIFEST = "manifest.json"
BEST = "best.json"
_STEP = re.compile(r"step-(\d{8,})")
_SLACK = 1 << 20  # bytes for the small JSON files


def name_of(step: int) -> str:
    """Folder name of a step's checkpoint."""
    return f"step-{step:08d}"


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a whole and unchanged checkpoint. CheckpointError names the first thing that is wrong."""
    path = folder / MANIFEST
    try:
        raw = path.read_bytes()
        manifest = json.loads(raw)
        files = manifest["files"]
        if manifest["format"] > FORMAT:
            raise CheckpointError(
                f"{folder}: written in format {manifest['format']}, this jorip reads up to {FORMAT}: upgrade jorip"
            )
        if dumps(manifest) != raw:
            raise ValueError("it is not as it was written")
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: has no {MANIFEST}, so it was never finished") from None
    except (ValueError, KeyError, TypeError, OSError) as e:
        raise CheckpointError(f"{path}: damaged ({e})") from None
    for name, want in files.items():
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()):
            raise CheckpointError(f"{path}: names a file outside of the checkpoint: {name!r}")
        if not file.is_file():
            raise CheckpointError(f"{file}: missing")
        if file.stat().st_size != want["size"]:
            raise CheckpointError(f"{file}: has {file.stat().st_size} bytes, {want['size']} were written")
        if sha256(file) != want["sha256"]:
            raise CheckpointError(f"{file}: damaged: its sha256 is not the one that was written")
    return manifest


class Checkpoints:
    """The checkpoints of one run. `tell` receives notices for the user (str -> None)."""

    def __init__(self, folder: Path, keep: int, tell: Callable[[str], None]) -> None:
        self.folder, self.keep, self.tell = folder, keep, tell

    def steps(self) -> list[int]:
        """Steps that have a folder, newest first; whether valid or not."""
        found = (_STEP.fullmatch(p.name) for p in self.folder.iterdir() if p.is_dir()) if self.folder.is_dir() else ()
        return sorted((int(m[1]) for m in found if m), reverse=True)

    def newest(self) -> Path | None:
        """The newest valid checkpoint, None when there is none at all. Tells of each damaged one that is passed over.

        CheckpointError when there are some and all are damaged.
        """
        problems = []
        for step in self.steps():
            folder = self.folder / name_of(step)
            try:
                verify(folder)
            except CheckpointError as e:
                problems.append(str(e))
            else:
                for p in problems:
                    self.tell(f"passed over a damaged checkpoint: {p}. Going on from {folder.name}")
                return folder
        if problems:
            raise CheckpointError(
                f"{self.folder}: no valid checkpoint is left:\n  " + "\n  ".join(problems) + "\n"
                "Restore one from a copy, or take a new run folder to start again"
            )
        return None

    def set_aside(self, newest: Path) -> None:
        """Renames the damaged ones that are newer than the valid `newest`, so that their steps can be saved again."""
        for step in self.steps():
            if name_of(step) == newest.name:
                return
            folder = self.folder / name_of(step)
            os.rename(folder, folder.with_name(f"damaged-{folder.name}-{uuid4().hex[:8]}"))

    def sweep(self) -> None:
        """Removes what an interrupted save or rotation left behind. Only for the process that holds the run's lock."""
        if self.folder.is_dir():
            for path in [p for p in self.folder.iterdir() if ".tmp-" in p.name or ".old-" in p.name]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def save(
        self,
        step: int,
        tensors: dict[str, dict[str, Tensor]],
        documents: dict[str, Any],
        artifacts: Callable[[Path], None],
        best: str | None,
    ) -> Path:
        """Writes the checkpoint of a step: tensors by file name, JSON documents by file name, and the task's artifacts.

        best: name of the best checkpoint so far, kept as long as this one is. ResourceError when the disk cannot take
        it; nothing half-written stays, and earlier checkpoints are untouched.
        """
        final = self.folder / name_of(step)
        hint = self._hint(step)
        with disk_errors(final, hint):
            self.folder.mkdir(parents=True, exist_ok=True)
            aside = self.folder / f"{final.name}.tmp-{uuid4().hex[:8]}"
            try:
                aside.mkdir()
                artifacts(aside)
                self._room(sum(tensor_bytes(t) for t in tensors.values()) + _SLACK, hint)
                for name, value in documents.items():
                    write_bytes(aside / name, dumps(value))
                for name, group in tensors.items():
                    failpoints.hit("save.tensors")
                    write_tensors(aside / name, group)
                self._finish(aside, step, best)
                self._install(aside, final)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
        return final

    def _finish(self, aside: Path, step: int, best: str | None) -> None:
        """Everything to the disk, then the manifest."""
        files = sorted(p for p in aside.rglob("*") if p.is_file())
        for path in files:
            sync_file(path)
        listed = {p.relative_to(aside).as_posix(): {"size": p.stat().st_size, "sha256": sha256(p)} for p in files}
        failpoints.hit("save.manifest")
        write_bytes(aside / MANIFEST, dumps({"format": FORMAT, "step": step, "best": best, "files": listed}))
        for path in [p for p in aside.rglob("*") if p.is_dir()]:
            sync_folder(path)
        sync_folder(aside)

    def _install(self, aside: Path, final: Path) -> None:
        """The rename that makes it exist. The name is free: a step is saved once, and damaged ones were set aside."""
        failpoints.hit("save.rename")
        os.rename(aside, final)
        sync_folder(self.folder)
        failpoints.hit("save.done")

    def _hint(self, step: int) -> str:
        earlier = [s for s in self.steps() if s < step]
        kept = (
            f"The checkpoint of step {earlier[0]} is untouched and a resume starts there"
            if earlier
            else ("No earlier checkpoint exists, so a resume starts from the beginning")
        )
        return kept + ". "

    def _room(self, needed: int, hint: str) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise ResourceError(
                f"{self.folder}: a checkpoint needs {size_text(needed)}, the disk has {size_text(free)} free. {hint}"
                "To go on, free some space and run the same command again"
            )

    def rotate(self, best: str | None) -> None:
        """Deletes all but the newest `keep`, their best ones and `best`, once the newest is verified."""
        steps = self.steps()
        if len(steps) <= self.keep:
            return
        kept = [self.folder / name_of(s) for s in steps[: self.keep]]
        protected = {best, *(self._best_of(folder) for folder in kept)}
        gone = [f for f in (self.folder / name_of(s) for s in steps[self.keep :]) if f.name not in protected]
        if gone:
            verify(kept[0])
        for folder in gone:
            old = folder.with_name(f"{folder.name}.old-{uuid4().hex[:8]}")
            failpoints.hit("rotate.rename")
            os.rename(folder, old)
            failpoints.hit("rotate.delete")
            shutil.rmtree(old)

    def _best_of(self, folder: Path) -> str | None:
        """The best one when this was written: needed should a newer one break."""
        try:
            return json.loads((folder / MANIFEST).read_bytes())["best"]
        except (OSError, ValueError, KeyError):
            return None

    def point_best(self, best: dict[str, Any] | None) -> None:
        """Writes `best.json` ({"name", "step", "metric", "value"}), unless it says so already."""
        path = self.folder / BEST
        if best is not None and not (path.is_file() and path.read_bytes() == dumps(best)):
            failpoints.hit("best.write")
            replace_json(path, best)


def best_checkpoint(run: Path) -> Path:
    """The folder of a run's best checkpoint, or its newest valid one when none was chosen yet.

    CheckpointError when there is none, or when the best one is damaged: another must then be named on purpose.
    """
    store = Checkpoints(run / "ckpt", 1, _ignore)
    pointer = store.folder / BEST
    try:
        name = str(json.loads(pointer.read_bytes())["name"])
        if not _STEP.fullmatch(name):
            raise ValueError(name)
    except FileNotFoundError:
        newest = store.newest()
        if newest is None:
            raise CheckpointError(f"{run}: has no checkpoint yet: train first") from None
        return newest
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{pointer}: damaged; name a checkpoint folder yourself") from None
    verify(store.folder / name)
    return store.folder / name


def _ignore(_: str) -> None:
    pass
