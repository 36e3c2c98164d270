"""Replaced token detection: find the tokens that a small generator put into a text (ELECTRA, 2003.10555).

    loss = 50 x mean over tokens of the discriminator's  +  mean over hidden tokens of the generator's

The trainer divides by the tokens of a global batch, however it is cut. The generator's mean is over the hidden ones, so
its sum is divided by their share in the training data, too, which every batch has up to rounding.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import nn

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.architectures.generator_discriminator import GeneratorDiscriminator
from jorip.core.errors import ConfigError
from jorip.core.layout import Packed
from jorip.objectives.replaced_tokens import ReplacedTokens as Objective
from jorip.parts.readout.masked_language_model import MaskedLanguageModel as Readout
from jorip.recipes.generator_discriminator import pair
from jorip.tasks.blanks import spell
from jorip.tasks.examples import Batch
from jorip.tasks.pretrain import NoisyExamples, Pretrain, evaluating

NAMES = ("original", "replaced")


class ReplacedTokens(Pretrain):
    """Checkpoints hold both models; fine-tuning starts from the discriminator (`pretrained` of the loaded model)."""

    name = "replaced_tokens"
    recipe = "generator-discriminator-small"
    objective = Objective
    metrics = {"loss": "min", "discriminator_loss": "min", "accuracy": "max", "found": "max"}

    @classmethod
    def complete(cls, spec, tokenizer, labels):
        """A pair as it is; beside an encoder, a generator with a quarter of its layers."""
        if isinstance(spec, Encoder) and not isinstance(spec, Decoder):
            spec = pair(spec)
        if not isinstance(spec, GeneratorDiscriminator):
            raise ConfigError(
                f"model: {cls.name} needs an encoder or a generator_discriminator, found {spec.kind}: "
                "take encoder-small"
            )
        size = {"vocab_size": tokenizer.vocab_size}
        generator = spec.generator.override(size)
        if not isinstance(generator.readout, Readout):
            generator = generator.override({"readout": Readout()})
        return spec.with_fields(generator=generator, discriminator=spec.discriminator.override(size))

    @property
    def limit(self) -> int | None:
        spec: Any = self.model.spec
        found = (self.config.data.max_len, spec.generator.max_len, spec.discriminator.max_len)
        return min((n for n in found if n is not None), default=None)

    def noisy(self, text: Any, key: tuple[int, ...]) -> dict[str, Any]:
        ids, _ = self.tokenizer.with_specials(text.tolist())
        return self.noise(ids, key, self.vocabulary)._asdict()

    def count(self, batch: Batch) -> int:
        """All tokens."""
        return len(batch["inputs"].values)

    @cached_property
    def share(self) -> float:
        """Of hidden tokens among all in the training data."""
        assert isinstance(self.train, NoisyExamples)
        return sum(map(self.noise.masking.count, self.train.texts.sizes.tolist())) / int(self.sizes.sum())

    def loss(self, model: nn.Module, batch: Batch, key, label_smoothing: float):
        out = model(batch["inputs"], targets=batch["targets"].values, key=key, label_smoothing=label_smoothing)
        n = self.count(batch)
        own = out.readouts["generator"] / (self.share * n)
        return self.noise.weight * out.loss[0], n, out.aux_losses | {"generator_loss": own}

    @torch.no_grad()
    def scores(self, model: nn.Module, examples) -> dict[str, float]:
        """loss: the paper's; found: of the replaced tokens, those that the discriminator names; accuracy: of all
        tokens; generator_accuracy: of the hidden tokens, those that its draws got right."""
        made = dict.fromkeys(("discriminator", "generator", "tokens", "hidden", "right", "replaced", "found"), 0.0)
        for batch in self.batches(examples):
            out = model(batch["inputs"], targets=batch["targets"].values)
            labels, said = out.readouts["replaced"].bool(), out.logits[:, 1] > out.logits[:, 0]
            made["discriminator"] += float(out.loss[0])
            made["generator"] += float(out.readouts["generator"])
            made["tokens"] += len(labels)
            made["hidden"] += int((batch["targets"].values >= 0).sum())
            made["right"] += int((labels == said).sum())
            made["replaced"] += int(labels.sum())
            made["found"] += int((labels & said).sum())
        tokens, hidden = max(made["tokens"], 1), max(made["hidden"], 1)
        of_both = {"discriminator_loss": made["discriminator"] / tokens, "generator_loss": made["generator"] / hidden}
        return {
            "loss": self.noise.weight * of_both["discriminator_loss"] + of_both["generator_loss"],
            **of_both,
            "accuracy": made["right"] / tokens,
            "found": made["found"] / max(made["replaced"], 1),
            "generator_accuracy": 1 - made["replaced"] / hidden,
        }

    def samples(self, model: nn.Module) -> list[dict[str, Any]]:
        """Some validation texts with the generator's tokens; the replaced ones in [brackets], and those that the
        discriminator takes for replaced."""
        texts = self.shown()
        if not texts:
            return []
        batch = self.assemble([(text, (0, 0, i)) for i, text in enumerate(texts)], range(len(texts)))
        out = evaluating(model, lambda: model(batch["inputs"], targets=batch["targets"].values))
        lengths = batch["inputs"].lengths.tolist()
        parts = (batch["inputs"].values, out.readouts["tokens"], out.readouts["replaced"], out.logits.argmax(-1))
        return [
            {
                "source": spell(self.tokenizer, blanks),
                "target": self.bracketed(ids, labels),
                "prediction": self.bracketed(ids, said),
            }
            for blanks, ids, labels, said in zip(*(p.split(lengths) for p in parts))
        ]

    def bracketed(self, ids: Any, marked: Any) -> str:
        t, special = self.tokenizer, self.vocabulary.special
        return "".join(
            f"[{piece}]" if m else piece
            for i, piece, m in zip(ids.tolist(), t.pieces(ids.tolist()), marked.tolist())
            if i not in special
        )

    @torch.no_grad()
    def predict(self, rows: list[dict[str, Any]], **_: Any) -> list[dict[str, Any]]:
        """For each token of a text (`words`): original or replaced, and the probability of the latter."""
        t = self.tokenizer
        made: list[dict[str, Any]] = []
        limit = self.text_limit
        for row, ids in zip(rows, t.encode_batch([r["text"] for r in rows])):
            self.cut += limit is not None and len(ids) > limit
            ids = t.with_specials(ids[:limit])[0]
            replaced = self.model(Packed.cat([torch.tensor(ids)])).logits.softmax(-1)[:, 1].tolist()
            kept = [k[1:] for k in zip(ids, t.pieces(ids), replaced) if k[0] not in self.vocabulary.special]
            made.append(
                {
                    "text": row["text"],
                    "words": [piece for piece, _ in kept],
                    "prediction": [NAMES[p > 0.5] for _, p in kept],
                    "probabilities": [p for _, p in kept],
                }
            )
        return made
