"""A folder that was not trained as one of our runs, as a task: what its readout answers is what it can predict."""

from __future__ import annotations

from pathlib import Path

from jorip.architectures.base import Model
from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder_decoder import EncoderDecoder
from jorip.core.errors import ConfigError
from jorip.exchange.origin import readout_of
from jorip.parts.readout.classifier import Classifier
from jorip.parts.readout.language_model import LanguageModel
from jorip.parts.readout.tagger import Tagger
from jorip.tasks.base import Task
from jorip.tasks.config import RunConfig, run_config
from jorip.tasks.registry import task_class

NOWHERE = "(this folder has no data of its own)"


def open_folder(folder: Path) -> Task:
    """The task of a Hugging Face folder, or of one that `jorip.save` wrote: ready to predict.

    Raises CheckpointError for damaged folders, ConfigError for a model whose readout answers no task.
    """
    from jorip.exchange.load import load
    from jorip.exchange.tokenizers import load_tokenizer

    model = load(folder)
    name = task_of(model, folder)
    labels = label_names(model)
    config = without_data(name)
    return task_class(name)(config, load_tokenizer(folder), labels, model)


def task_of(model: Model, folder: Path) -> str:
    spec, readout = model.spec, readout_of(model.spec)
    if isinstance(spec, EncoderDecoder) and isinstance(readout, LanguageModel):
        return "translate"
    if isinstance(readout, Classifier):
        return "classify"
    if isinstance(readout, Tagger):
        return "tag"
    if isinstance(readout, LanguageModel) and isinstance(spec, Decoder):
        return "language_model"
    kind = readout.kind if readout is not None else "none"
    if kind in READ_AS:
        return READ_AS[kind]
    raise ConfigError(
        f"{folder}: this model's readout is {kind}, which answers no task: it can be loaded in Python "
        "(jorip.load), or be the start of a training (model.start_from)"
    )


READ_AS = {
    "masked_language_model": "masked_language_model",
    "pre_training": "masked_language_model",
    "spans": "question_answering",
}


def label_names(model: Model) -> list[str]:
    """The checkpoint's own, else LABEL_0 ... as many as the readout has."""
    n = getattr(readout_of(model.spec), "n_classes", 0)
    names = list(model.origin.labels) if model.origin is not None else []
    return names if len(names) == n else [f"LABEL_{i}" for i in range(n)]


def without_data(task: str) -> RunConfig:
    """A run's configuration with every default."""
    nothing = {"path": NOWHERE, "format": "jsonl"}
    tree = {"task": task, "data": {"train": nothing, "val": nothing}, "model": {}, "training": {"steps": 1}}
    return run_config(tree, "defaults")
