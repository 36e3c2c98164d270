"""What all tasks share. A task binds data, tokenizer and model to the trainer's seam (see training/protocol.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from jorip.architectures.base import Architecture, Model
from jorip.core.errors import ConfigError, did_you_mean
from jorip.core.random import Key
from jorip.data.batches import plan_batches
from jorip.data.check import padded_share
from jorip.data.quarantine import ASIDE, Quarantine
from jorip.data.readers import read_all
from jorip.data.source import Source
from jorip.data.tokenizers import Tokenizer, train_tokenizer
from jorip.exchange.generation import GENERATION
from jorip.exchange.origin import ORIGIN
from jorip.tasks.begin import Transplant, at, digest, keep_vocabulary, origin_of, source_of, transplant
from jorip.tasks.config import RunConfig, model_spec
from jorip.tasks.examples import Batch, Examples
from jorip.tasks.lora import inject, merged


class Task:
    """One learning problem. Subclasses say which roles rows have, how rows become streams, how a batch gives a loss,
    what validation measures, and how a prediction looks."""

    name: ClassVar[str]
    recipe: ClassVar[str]  # the model when the configuration names none
    roles: ClassVar[tuple[str, ...]]
    lists: ClassVar[tuple[str, ...]] = ()
    metrics: ClassVar[dict[str, Literal["min", "max"]]] = {"loss": "min"}

    def __init__(self, config: RunConfig, tokenizer: Tokenizer, labels: list[str], model: Model):
        self.config, self.tokenizer, self.labels, self.model = config, tokenizer, labels, model
        self.train = self.val = Examples({}, torch.zeros(0, dtype=torch.int64))
        self.quarantine = Quarantine()
        self.transplant: Transplant | None = None  # what came from the folder that the run starts from
        self.origin = ""  # its digest
        self.cut = 0  # inputs of predictions that were longer than the limit
        self.padding = 0.0  # share of attention's grid that holds no token, for progress

    # what the trainer sees

    @property
    def sizes(self) -> Tensor:
        return self.train.sizes

    @property
    def fingerprint(self) -> str:
        return "-".join(filter(None, (self.train.digest(), self.tokenizer.fingerprint, self.origin)))

    @property
    def notices(self) -> list[str]:
        """What became of the data: examples that are cut, rows that are put aside."""
        sets = {"train": self.train, "val": self.val}
        found = [
            f"{name}: {e.truncated} of {len(e.rows)} examples are cut at {self.limit} tokens"
            for name, e in sets.items()
            if e.truncated
        ]
        bad = self.quarantine.total
        return [*found, f"{bad} bad rows are put aside, in {ASIDE}"] if bad else found

    @property
    def merged(self) -> Callable[[nn.Module], dict[str, Tensor]] | None:
        """What makes the weights that are kept from those that are trained; None where these are the same."""
        return merged if self.config.model.lora is not None else None

    @property
    def selects(self) -> tuple[str, Literal["min", "max"]]:
        metric = self.config.evaluation.metric
        if metric not in self.metrics:
            raise ConfigError(f"evaluation.metric: {self.name} has no {metric!r}{did_you_mean(metric, self.metrics)}")
        return metric, self.metrics[metric]

    def plan(self, epoch: int) -> list[list[int]]:
        data = self.config.data
        return plan_batches(
            self.sizes, data.tokens, seed=self.config.training.seed, epoch=epoch, max_examples=data.examples
        )

    def batch(self, ids: list[int], epoch: int) -> Batch:
        return self.train.take(ids)

    def count(self, batch: Batch) -> int:
        """Loss terms: by default one per example."""
        return len(batch["targets"].lengths)

    def loss(self, model: nn.Module, batch: Batch, key: Key | None, label_smoothing: float):
        out = self.run(model, batch, key, label_smoothing)
        return out.loss[0], self.count(batch), out.aux_losses

    def run(self, model: nn.Module, batch: Batch, key: Key | None, label_smoothing: float) -> Any:
        """The forward pass with a loss."""
        raise TypeError(f"{self.name} has no forward")

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean loss over the validation set, and the task's own metrics."""
        model.eval()
        metrics = self.scores(model, self.val) if len(self.val) else {}
        model.train()
        return metrics

    @torch.no_grad()
    def scores(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        total = count = 0.0
        for batch in self.batches(examples):
            sum_, n, _ = self.loss(model, batch, None, 0.0)
            total, count = total + float(sum_), count + n
        return {"loss": total / max(count, 1)}

    def batches(self, examples: Examples, tokens: int = 16384) -> Iterable[Batch]:
        """All of them, like lengths together."""
        for ids in self.plan_of(examples, tokens):
            yield examples.take(ids)

    def plan_of(self, examples: Examples, tokens: int = 16384) -> list[list[int]]:
        return plan_batches(examples.sizes, tokens, seed=0, epoch=0, shuffle=False)

    @property
    def limit(self) -> int | None:
        """Longest input in tokens: `data.max_len`, or what the model takes where that is less; None = any."""
        paths = ("max_len", "encoder.max_len", "decoder.max_len")
        found = [self.config.data.max_len, *(at(self.model.spec, path) for path in paths)]
        return min((n for n in found if n is not None), default=None)

    @property
    def has_segments(self) -> bool:
        """Whether the model reads which of two texts a token is of."""
        return at(self.model, "embedding.segments") is not None

    def generation(self) -> dict[str, Any]:
        """How texts are made: what the configuration says; of a model that was somebody else's the rest is what its
        folder says."""
        e = self.config.evaluation
        known = {"beams": e.beams, "length_penalty": e.length_penalty, "max_new_tokens": e.max_new_tokens}
        if self.model.origin is None:
            return known | {"eos": self.tokenizer.eos}
        return {k: v for k, v in known.items() if k in e.model_fields_set}

    @property
    def ends(self) -> set[int]:
        """Ids that end a text."""
        known = self.model.origin.ids.get("eos") if self.model.origin is not None else None
        known = self.tokenizer.eos if known is None else known
        return set(known if isinstance(known, list) else [known]) - {None}

    def predict(self, rows: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
        """One dict per row, with `prediction`; options of generation where the task generates."""
        raise TypeError(f"{self.name} cannot predict")

    def evaluate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Scores of `self.model` on rows that have their answers."""
        raise TypeError(f"{self.name} cannot evaluate")

    def samples(self, model: nn.Module) -> list[dict[str, Any]]:
        return []

    def artifacts(self, folder: Path) -> None:
        """spec.json, tokenizer.json, task.json and, of a model that was somebody else's, origin.json and its generation
        settings: with model.safetensors, all that prediction needs."""
        write_json(folder / "spec.json", self.model.spec.to_dict())
        self.tokenizer.save(folder / "tokenizer.json")
        if self.model.origin is not None:
            write_json(folder / ORIGIN, self.model.origin.to_dict())
            if self.model.origin.generation:
                write_json(folder / GENERATION, self.model.origin.generation)
        config, said = self.config.model_dump(mode="json"), sorted(self.config.evaluation.model_fields_set)
        task = {"format": 1, "task": self.name, "labels": self.labels, "said": said, "config": config}
        write_json(folder / "task.json", task)  # said: of `evaluation`, what was no default, for `generation`

    # how data become a task

    @classmethod
    def texts(cls, rows: list[dict[str, Any]]) -> Iterable[str]:
        """What the tokenizer is trained on."""
        for row in rows:
            for role in cls.roles:
                value = row.get(role)
                yield from [value] if isinstance(value, str) else value or []

    @classmethod
    def find_labels(cls, rows: list[dict[str, Any]]) -> list[str]:
        """Sorted label names, for tasks that have them."""
        return []

    def encode(self, rows: list[dict[str, Any]], where: str) -> Examples:
        raise TypeError(f"{self.name} cannot encode")

    @classmethod
    def complete(cls, spec: Architecture, tokenizer: Tokenizer, labels: list[str]) -> Architecture:
        """The spec with vocabulary, readout and classes filled in."""
        return spec.override({"vocab_size": tokenizer.vocab_size})

    @classmethod
    def read(cls, source: Source, config: RunConfig, quarantine: Quarantine | None = None) -> list[dict[str, Any]]:
        roles = cls.roles_of(config)
        return read_all(source, roles, lists=cls.lists, base=config.base, quarantine=quarantine)

    @classmethod
    def roles_of(cls, config: RunConfig) -> tuple[str, ...]:
        return cls.roles

    @classmethod
    def begin(
        cls, config: RunConfig, train: list[dict[str, Any]]
    ) -> tuple[Architecture, Tokenizer, list[str], Model | None]:
        """The spec for these rows, the tokenizer, the label names, and the model whose weights it starts from."""
        labels = cls.find_labels(train)
        if config.model.start_from is None:
            tokenizer = train_tokenizer(config.tokenizer, cls.texts(train))
            return cls.complete(model_spec(config.model, cls.recipe), tokenizer, labels), tokenizer, labels, None
        source, tokenizer = source_of(config.model.start_from, config.base)
        spec = cls.complete(source.spec.override(config.model.override), tokenizer, labels)
        return keep_vocabulary(spec, source.spec), tokenizer, labels, source

    @classmethod
    def prepare(cls, config: RunConfig) -> Task:
        """Reads the data, trains the tokenizer, encodes, builds the model with the run's seed."""
        quarantine = Quarantine()
        train = cls.read(config.data.train, config, quarantine)
        val = cls.read(config.data.val, config, quarantine)
        spec, tokenizer, labels, source = cls.begin(config, train)
        task = cls(config, tokenizer, labels, spec.build(seed=config.training.seed))
        if source is not None:
            task.transplant = transplant(task.model, source, str(config.model.start_from))
            task.origin = digest(source)
            task.model.origin = origin_of(source, spec, labels)
        if config.model.lora is not None:
            inject(task.model, config.model.lora, config.training.seed)
        _ = task.selects  # an unknown metric is refused before anything is trained
        task.quarantine = quarantine
        task.train, task.val = task.encode(train, "train"), task.encode(val, "val")
        task.padding = padded_share(task.sizes, task.plan(0))
        return task


def until_end(ids: list[int], ends: set[int]) -> list[int]:
    """What stands before the first id that ends a text; -1 stands after the end where there is none."""
    stop = next((n for n, i in enumerate(ids) if i in ends or i < 0), len(ids))
    return ids[:stop]


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
