"""From a configuration to a task, and from a finished run back to predictions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jorip.core.errors import CheckpointError, ConfigError, did_you_mean
from jorip.tasks.base import Task
from jorip.tasks.config import RunConfig, run_config
from jorip.tasks.registry import task_class


def prepare(config: RunConfig) -> Task:
    """Reads the data, trains the tokenizer, builds the model: ready for `training.loop.train`."""
    return task_class(config.task).prepare(config)


@dataclass
class Predictor:
    """A trained task, from a run's best checkpoint or a saved folder."""

    folder: Path
    task: Task

    @property
    def task_name(self) -> str:
        return self.task.name

    def predict(self, rows: list[dict[str, Any] | str], **options: Any) -> list[dict[str, Any]]:
        """One dict per row, with `prediction`. A bare text stands for the task's first role."""
        return self.task.predict([self.as_row(r) for r in rows], **options)

    def as_row(self, row: dict[str, Any] | str) -> dict[str, Any]:
        """Raises ConfigError when a role is missing."""
        roles = [r for r in self.task.roles_of(self.task.config) if r not in ("label", "tags", "target")]
        if isinstance(row, str):
            parts = row.split("\t") if len(roles) > 1 else [row]
            row = dict(zip(roles, parts))
        for role in roles:
            if role not in row:
                raise ConfigError(f"{self.task.name} needs {role!r} in every row, found {sorted(row)}")
        if "words" in row and isinstance(row["words"], str):
            row = {**row, "words": row["words"].split()}
        return row

    def generate(self, prompts: list[str], **options: Any) -> list[str]:
        """New text for each prompt (language models) or source (translation)."""
        if self.task.name not in ("language_model", "translate"):
            raise ConfigError(f"a {self.task.name} model does not generate text: use predict")
        return [p["prediction"] for p in self.predict(list(prompts), **options)]

    def stream(self, prompt: str, **options: Any) -> Iterator[str]:
        """The new text of one prompt piece by piece, as it is made."""
        from jorip.inference.generate import stream
        from jorip.tasks.language_model import LanguageModel
        from jorip.tasks.translate import Translate

        if self.task.name not in ("language_model", "translate"):
            raise ConfigError(f"a {self.task.name} model does not generate text: use predict")
        t = self.task.tokenizer
        known = self.task.generation()
        options = {k: known[k] for k in ("max_new_tokens", "eos") if k in known} | options
        if isinstance(self.task, Translate):
            (ids,), options = self.task.filled([t.encode(prompt)]), {"bos": self.task.start} | options
        else:
            assert isinstance(self.task, LanguageModel)
            ids = self.task.prompt(prompt)
        made: list[int] = []
        said = ""
        for new in stream(self.task.model, torch.tensor([ids]), **options):
            if int(new[0]) in self.task.ends:
                break
            made.append(int(new[0]))
            text = t.decode(made)
            if text.endswith("\ufffd"):  # an unfinished character
                continue
            yield text[len(said) :]
            said = text

    def evaluate(self, split: str = "test") -> dict[str, Any]:
        """Scores on a split of the run's own configuration: val, test, or one of several tests by name."""
        data = self.task.config.data
        sources = {"train": data.train, "val": data.val, **data.test}
        if split not in sources:
            raise ConfigError(f"this run has no split {split!r}{did_you_mean(split, sources)}")
        rows = self.task.read(sources[split], self.task.config, self.task.quarantine)
        return self.task.evaluate(rows)


def open_run(folder: str | Path) -> Predictor:
    """A run folder (its best checkpoint), one checkpoint, a folder that was saved with its task, or any folder whose
    readout answers one (a Hugging Face folder, too).

    Raises CheckpointError: nothing there, damaged files; ConfigError for a readout that answers no task.
    """
    from jorip.architectures.folder import find
    from jorip.exchange.load import load
    from jorip.exchange.tokenizers import load_tokenizer
    from jorip.tasks.foreign import open_folder

    folder = Path(folder) if (Path(folder) / "config.json").is_file() else find(folder)
    if not (folder / "task.json").is_file():
        return Predictor(folder, open_folder(folder))
    try:
        saved = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        config = run_config(saved["config"], str(folder / "task.json"))
        if "said" in saved:  # runs of old versions said everything
            told = config.evaluation.model_construct(_fields_set=set(saved["said"]), **dict(config.evaluation))
            config = config.model_copy(update={"evaluation": told})
        cls, labels = task_class(saved["task"]), list(saved["labels"])
    except (ValueError, KeyError, TypeError) as e:
        raise CheckpointError(f"{folder / 'task.json'}: damaged ({e})") from None
    model = load(folder).eval()
    return Predictor(folder, cls(config, load_tokenizer(folder), labels, model))
