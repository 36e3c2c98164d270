"""Masked language modelling: tokens are hidden and predicted from both sides (encoder only; BERT, 1810.04805)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.core.errors import ConfigError
from jorip.core.layout import Packed
from jorip.data.batches import plan_batches
from jorip.objectives.base import IGNORE
from jorip.objectives.masking import Masking
from jorip.parts.readout.masked_language_model import MaskedLanguageModel as Readout
from jorip.tasks.blanks import read_blanks, spell
from jorip.tasks.examples import Batch
from jorip.tasks.pretrain import Pretrain, evaluating
from jorip.tasks.word_pieces import WordPieces

TOP = 5  # likeliest tokens that a prediction names


class MaskedLanguageModel(Pretrain):
    """Each text stands between the special tokens of a single text, as when a classifier reads it."""

    name = "masked_language_model"
    recipe = "encoder-small"
    objective = Masking
    metrics = {"loss": "min", "accuracy": "max"}

    @classmethod
    def complete(cls, spec, tokenizer, labels):
        if not isinstance(spec, Encoder) or isinstance(spec, Decoder):
            raise ConfigError(f"model: {cls.name} needs an encoder, found {spec.kind}: take encoder-small")
        readout = spec.readout if isinstance(spec.readout, Readout) else Readout()
        return spec.override({"vocab_size": tokenizer.vocab_size, "readout": readout})

    @cached_property
    def words(self) -> WordPieces:
        return WordPieces(self.tokenizer)

    def noisy(self, text: Any, key: tuple[int, ...]) -> dict[str, Any]:
        ids, _ = self.tokenizer.with_specials(text.tolist())
        words = self.words(ids) if self.noise.whole_words else None
        return self.noise(ids, key, self.vocabulary, words)._asdict()

    def count(self, batch: Batch) -> int:
        """Hidden tokens."""
        return int((batch["targets"].values != IGNORE).sum())

    def run(self, model, batch, key, label_smoothing):
        return model(batch["inputs"], targets=batch["targets"].values, key=key, label_smoothing=label_smoothing)

    @torch.no_grad()
    def scores(self, model: nn.Module, examples) -> dict[str, float]:
        """Loss and accuracy over the hidden tokens."""
        total = right = count = 0.0
        for batch in self.batches(examples):
            asked = batch["targets"].values != IGNORE
            wanted = batch["targets"].values[asked]
            logits = model(batch["inputs"]).logits[asked]
            total += float(nn.functional.cross_entropy(logits.float(), wanted, reduction="sum"))
            right, count = right + float((logits.argmax(-1) == wanted).sum()), count + len(wanted)
        return {"loss": total / max(count, 1), "accuracy": right / max(count, 1)}

    @torch.no_grad()
    def fill(self, model: nn.Module, inputs: Sequence[Any], top: int = TOP) -> list[tuple[list[int], list[Any]]]:
        """For each text with masks: the ids with every mask filled, and for each mask the likeliest (id, probability).
        Masks are filled one by one from the same reading: no filling sees another."""
        made: list[tuple[list[int], list[Any]]] = [([], [])] * len(inputs)
        for part in plan_batches([len(i) for i in inputs], 4096, seed=0, epoch=0, shuffle=False):
            batch = Packed.cat([torch.as_tensor(inputs[i]) for i in part])
            for i, ids, logits in zip(part, batch.split(), model(batch).logits.split(batch.lengths.tolist())):
                hidden = ids == self.vocabulary.mask
                best = logits[hidden].float().softmax(-1).topk(min(top, logits.shape[-1]))
                filled = ids.clone()
                filled[hidden] = best.indices[:, 0]
                pairs = [list(zip(k, p)) for k, p in zip(best.indices.tolist(), best.values.tolist())]
                made[i] = (filled.tolist(), pairs)
        return made

    def samples(self, model: nn.Module) -> list[dict[str, Any]]:
        """Some validation texts with blanks, as they were and as they are filled."""
        clear = self.noise.with_fields(mask=1.0, random=0.0)  # a reader should see where the blanks are
        texts = [np.array(self.tokenizer.with_specials(text.tolist())[0]) for text in self.shown()]
        words = [self.words(ids) if clear.whole_words else None for ids in texts]
        noisy = [clear(ids, (0, 0, i), self.vocabulary, w).inputs for i, (ids, w) in enumerate(zip(texts, words))]
        filled = evaluating(model, lambda: self.fill(model, noisy))
        t = self.tokenizer
        return [
            {"source": spell(t, n), "target": t.decode(ids), "prediction": t.decode(made)}
            for ids, n, (made, _) in zip(texts, noisy, filled)
        ]

    def predict(self, rows: list[dict[str, Any]], **_: Any) -> list[dict[str, Any]]:
        """The text with every `<mask>` filled by its likeliest token; `fills` has the likeliest of each."""
        t, inputs = self.tokenizer, []
        for row in rows:
            ids = read_blanks(t, row["text"])
            self.cut += self.text_limit is not None and len(ids) > self.text_limit
            ids = ids[: self.text_limit]
            inputs.append(t.with_specials(ids)[0])
        return [
            {
                "text": row["text"],
                "prediction": t.decode(ids),
                "fills": [[{"token": t.pieces([k])[0], "probability": p} for k, p in best] for best in fills],
            }
            for row, (ids, fills) in zip(rows, self.fill(self.model, inputs))
        ]
