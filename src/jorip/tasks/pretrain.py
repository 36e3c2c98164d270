"""What pre-training tasks share: plain texts, cut into windows, and noise that depends on seed, epoch and example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from jorip.core.errors import ConfigError, DataError
from jorip.core.layout import Packed
from jorip.data.store import RaggedStore
from jorip.objectives.base import Objective, Vocabulary
from jorip.tasks.base import Task
from jorip.tasks.blanks import as_vocabulary
from jorip.tasks.examples import Batch, Examples

T = TypeVar("T")


@dataclass
class NoisyExamples(Examples):
    """texts: token ids as they are, without special tokens; make: (ids, epoch) -> batch. Without an epoch the noise is
    that of the first one: evaluations always see the same."""

    texts: RaggedStore = field(kw_only=True)
    make: Callable[[list[int], int], Batch] = field(kw_only=True)

    def take(self, ids: list[int], epoch: int = 0) -> Batch:
        return self.make(ids, epoch)

    def digest(self) -> str:
        return self.texts.fingerprint()


class Pretrain(Task):
    """Role text. A text longer than `data.window` tokens is several examples; an empty one is none. Subclasses say what
    noise makes of an example (`noisy`), and how large that is (`size`)."""

    roles = ("text",)
    objective: ClassVar[type[Objective]]

    def __init__(self, config, tokenizer, labels, model):
        super().__init__(config, tokenizer, labels, model)
        self.noise: Any = self.objective(**config.objective)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What the noise knows of the tokens. Raises ConfigError when a mask is needed and the tokenizer has none."""
        if self.tokenizer.mask is None:
            raise ConfigError(f"{self.name}: this tokenizer has no mask token: take span_corruption or language_model")
        return as_vocabulary(self.tokenizer, self.tokenizer.vocab_size)

    @property
    def extra(self) -> int:
        """Special tokens around a text."""
        return self.tokenizer.single.extra

    @property
    def text_limit(self) -> int | None:
        """`limit`, special tokens not counted."""
        return None if self.limit is None else max(self.limit - self.extra, 0)

    @property
    def room(self) -> int:
        """Tokens of the longest example, special ones not counted."""
        window, limit = self.config.data.window, self.text_limit
        room = window - self.extra if limit is None else min(window - self.extra, limit)
        if room < 1:
            raise ConfigError(f"data.window: {window} tokens leave no room for a text between special tokens: raise it")
        return room

    def encode(self, rows: list[dict[str, Any]], where: str) -> Examples:
        _ = self.vocabulary  # what does not fit is refused before anything is trained
        room, texts, owners = self.room, [], []
        for row, ids in zip(rows, self.tokenizer.encode_batch([r["text"] for r in rows])):
            parts = [ids[i : i + room] for i in range(0, len(ids), room)]
            texts += parts
            owners += [row] * len(parts)
        if not texts:
            raise DataError(f"{where}: there is no text in these rows")
        store = RaggedStore.of(texts)
        seed = self.config.training.seed if where == "train" else 0

        def make(ids: list[int], epoch: int) -> Batch:
            return self.assemble([(store[i].numpy(), self.noise.key(seed, epoch, i)) for i in ids], ids)

        sizes = torch.tensor([self.size(n) for n in store.sizes.tolist()], dtype=torch.int64)
        return NoisyExamples({}, sizes, owners, texts=store, make=make)

    def batch(self, ids: list[int], epoch: int) -> Batch:
        assert isinstance(self.train, NoisyExamples)
        return self.train.take(ids, epoch)

    def size(self, length: int) -> int:
        """Tokens of an example for the batch budget."""
        return length + self.extra

    def noisy(self, text: Any, key: tuple[int, ...]) -> dict[str, Any]:
        """Streams of one example: (length,) integers each."""
        raise TypeError(f"{self.name} makes no noise")

    def assemble(self, examples: Sequence[tuple[Any, tuple[int, ...]]], ids: Sequence[int]) -> Batch:
        """Texts with their keys, packed; ids name the samples."""
        made = [self.noisy(text, key) for text, key in examples]
        uid = torch.tensor(list(ids), dtype=torch.int64)
        return {name: Packed.cat([torch.as_tensor(m[name]) for m in made], uid) for name in made[0]}

    def batches(self, examples: Examples, tokens: int = 4096):
        """Smaller than elsewhere: evaluations look at scores over the whole vocabulary."""
        return super().batches(examples, tokens)

    def evaluate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        examples = self.encode(rows, "test")
        return {"examples": len(examples), **self.scores(self.model, examples)}

    def shown(self, most: int = 64) -> list[Any]:
        """Some validation texts, of each as many tokens as are read easily."""
        texts = self.val.texts if isinstance(self.val, NoisyExamples) else RaggedStore.of([])
        k = min(self.config.evaluation.samples, len(texts))
        return [
            texts[i * len(texts) // k][:most].numpy() for i in range(k)
        ]  # from all over, not the first text's parts


def evaluating(model: nn.Module, made: Callable[[], T]) -> T:
    """What `made` gives in evaluation mode."""
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            return made()
    finally:
        model.train(was)
