"""Language modelling: predict the next token of a text (decoder only)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from jorip.architectures.decoder import Decoder
from jorip.core.errors import ConfigError
from jorip.data.store import LanguageModelWindows
from jorip.data.tokenizer_template import PLAIN
from jorip.inference.generate import generate
from jorip.tasks.base import Task, until_end
from jorip.tasks.examples import Batch, Examples


@dataclass
class WindowExamples(Examples):
    """Windows over one stream, instead of streams of examples."""

    windows: LanguageModelWindows = field(kw_only=True)

    def take(self, ids: list[int], epoch: int = 0) -> Batch:
        inputs, targets = self.windows.take(ids, epoch)
        return {"inputs": inputs, "targets": targets}

    def digest(self) -> str:
        return self.windows.fingerprint()


class LanguageModel(Task):
    """Role text. All texts become one stream, with <eos> between them, cut into windows of `data.window` tokens
    whose offset changes every epoch. Validation reads the whole split in fixed windows."""

    name = "language_model"
    recipe = "decoder-small"
    roles = ("text",)
    metrics = {"loss": "min"}

    @classmethod
    def complete(cls, spec, tokenizer, labels):
        if not isinstance(spec, Decoder):
            raise ConfigError(f"model: language_model needs a decoder, found {spec.kind}: take decoder-small")
        return super().complete(spec, tokenizer, labels)

    def encode(self, rows: list[dict[str, Any]], where: str) -> Examples:
        t = self.tokenizer
        stream = t.encode_stream((r["text"] for r in rows), end=t.eos if len(rows) > 1 else None)
        windows = LanguageModelWindows(
            stream, self.config.data.window, self.config.training.seed if where == "train" else None
        )
        return WindowExamples({}, windows.sizes, rows, windows=windows)

    def batch(self, ids: list[int], epoch: int) -> Batch:
        assert isinstance(self.train, WindowExamples)
        return self.train.take(ids, epoch)

    def count(self, batch: Batch) -> int:
        return int(batch["targets"].lengths.sum())

    def run(self, model, batch, key, label_smoothing):
        return model(batch["inputs"], targets=batch["targets"].values, key=key, label_smoothing=label_smoothing)

    @torch.no_grad()
    def scores(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """loss in nats per token, perplexity, bits per character of the text."""
        metrics = super().scores(model, examples)
        tokens = int(examples.sizes.sum())
        characters = max(sum(len(r["text"]) for r in examples.rows), 1)
        bits = metrics["loss"] * tokens / characters / math.log(2)
        return metrics | {"perplexity": math.exp(min(metrics["loss"], 50.0)), "bits_per_character": bits}

    def samples(self, model: nn.Module) -> list[dict[str, Any]]:
        """Continuations of the first characters of the validation text."""
        if not self.val.rows or not self.config.evaluation.samples:
            return []
        prompt = self.val.rows[0]["text"][:40]
        model.eval()
        texts = self.continue_text(model, [prompt] * self.config.evaluation.samples, temperature=0.8, seed=0)
        model.train()
        return [{"source": prompt, "target": "", "prediction": text} for text in texts]

    def prompt(self, text: str) -> list[int]:
        """What the model reads of a beginning; loaded tokenizers may put a <bos> before it."""
        t = self.tokenizer
        around = PLAIN if t.own else t.single
        return around.fill(t.encode(text))[0] or [t.eos if t.eos is not None else 0]

    @torch.no_grad()
    def continue_text(self, model: Any, prompts: list[str], **options: Any) -> list[str]:
        """The new text only, for each prompt."""
        t = self.tokenizer
        known = self.generation()
        options = {k: known[k] for k in ("max_new_tokens", "eos") if k in known} | options
        ids = [torch.tensor(self.prompt(p)) for p in prompts]
        tokens = nn.utils.rnn.pad_sequence(ids, batch_first=True)
        mask = torch.arange(tokens.shape[1]) < torch.tensor([len(i) for i in ids])[:, None]
        new = generate(model, tokens, mask=mask, **options)
        return [t.decode(until_end(row, self.ends)) for row in new.tolist()]

    def predict(self, rows: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
        texts = self.continue_text(self.model, [r["text"] for r in rows], **options)
        return [{"text": r["text"], "prediction": p} for r, p in zip(rows, texts)]

    def evaluate(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        examples = self.encode(rows, "test")
        return {"tokens": int(examples.sizes.sum()), **self.scores(self.model, examples)}
