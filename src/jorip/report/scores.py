"""Final scores beside the run they belong to: RUN/eval/NAME.json."""

import json
from pathlib import Path
from typing import Any

from jorip.core.errors import DataError


def keep_scores(folder: Path, split: str, metrics: dict[str, Any]) -> Path | None:
    """Writes the scores of a split; None when the folder is no run (a saved model is left as it is)."""
    if not (folder / "run.json").is_file():
        return None
    path = folder / "eval" / f"{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(metrics, ensure_ascii=False, indent=1, default=str), encoding="utf-8")
    return path


def read_scores(folder: Path) -> dict[str, dict[str, Any]]:
    """split -> metrics, for every split that was scored. DataError when a file is damaged."""
    found = {}
    for path in sorted((folder / "eval").glob("*.json")):
        try:
            found[path.stem] = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as e:
            raise DataError(f"{path}: damaged ({e}): delete it and run `jorip eval` again") from None
    return found
