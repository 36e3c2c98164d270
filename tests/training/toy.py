"""A task of the smallest size: next tokens of random sequences, dropout by hash, tied embeddings, a buffer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jorip.core.layout import Layout, Packed
from jorip.core.random import Key, drop_scale, mix_ints, row_keys

VOCAB = 23


class ToyModel(nn.Module):
    """Embedding, a hidden layer over the running mean of the sequence, hash dropout, tied readout."""

    def __init__(self, width: int = 16, p: float = 0.2) -> None:
        super().__init__()
        self.p = p
        self.embedding = nn.Embedding(VOCAB, width)
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(2 * width, width)
        self.out = nn.Linear(width, VOCAB, bias=False)
        self.out.weight = self.embedding.weight
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, tokens: Packed, key: Key | None = None) -> Tensor:
        at = Layout.of(tokens.lengths, tokens.uid)
        x = self.embedding(tokens.values)
        total = at.grid(x).cumsum(1)
        mean = at.rows(total) / (at.order[:, None] + 1)
        h = torch.tanh(self.hidden(torch.cat((self.norm(x), mean), -1)))
        if self.training and key is not None and self.p:
            keys = row_keys(tokens.uid[at.sample], at.order)
            h = h * drop_scale(keys, h.shape[1], mix_ints(key.seed, key.step), self.p, h.dtype)
        return self.out(h)


class ToyTask:
    """60 sequences of 2 to 12 tokens, batches of 8 examples (the last one of an epoch has 4).

    room: tokens that fit into the memory of its machine. unused: the model has a layer that takes no part.
    """

    selects = ("loss", "min")
    padding = 0.0

    def __init__(
        self,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        n: int = 60,
        p: float = 0.2,
        room: int = 10**9,
        unused: bool = False,
    ) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model: nn.Module = ToyModel(p=p).to(dtype)
            if unused:
                self.model.unused = nn.Linear(2, 2, dtype=dtype)
            g = torch.Generator().manual_seed(7)
            lengths = torch.randint(2, 13, (n + 10,), generator=g).tolist()
            self.sequences = [(torch.randint(0, 5, (k + 1,), generator=g).cumsum(0)) % VOCAB for k in lengths]
        self.seed, self.n, self.room = seed, n, room
        self.sizes = torch.tensor(lengths[:n])
        self.fingerprint = hashlib.sha256(torch.cat(self.sequences).numpy().tobytes()).hexdigest()
        self.seen: list[list[int]] = []

    def plan(self, epoch: int) -> list[list[int]]:
        g = torch.Generator().manual_seed(mix_ints(self.seed, epoch))
        order = torch.randperm(self.n, generator=g).tolist()
        return [order[i : i + 8] for i in range(0, self.n, 8)]

    def batch(self, ids: list[int], epoch: int) -> dict[str, Packed]:
        self.seen.append(list(ids))
        uid = torch.tensor(ids)
        return {
            "tokens": Packed.cat([self.sequences[i][:-1] for i in ids], uid),
            "targets": Packed.cat([self.sequences[i][1:] for i in ids], uid),
        }

    def count(self, batch) -> int:
        return batch["targets"].values.numel()

    def loss(self, model, batch, key, label_smoothing):
        targets = batch["targets"].values
        if model.training and len(targets) > self.room:
            raise torch.OutOfMemoryError("no room")
        logits = model(batch["tokens"], key=key)
        terms = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=label_smoothing)
        return terms, targets.numel(), {"size": 1e-3 * logits.square().mean()}

    def validate(self, model) -> dict[str, float]:
        torch.rand(5)  # an evaluation that draws random numbers must not change the training
        held_out = list(range(self.n, self.n + 10))
        batch = self.batch(held_out, 0)
        terms, count, _ = self.loss(model, batch, None, 0.0)
        return {"loss": float(terms) / count, "accuracy": 0.5}

    def samples(self, model) -> list[dict]:
        return [{"source": "가나", "output": self.sequences[0].tolist()}]

    def artifacts(self, folder: Path) -> None:
        (folder / "task.json").write_text(json.dumps({"이름": "toy"}, ensure_ascii=False), encoding="utf-8")


def weights_hash(model: nn.Module) -> str:
    """sha256 over all weights and buffers."""
    h = hashlib.sha256()
    for name, t in sorted(model.state_dict().items()):
        h.update(name.encode())
        h.update(t.contiguous().numpy().tobytes())
    return h.hexdigest()


def without_wall(events: list[dict]) -> list[dict]:
    """Events without the fields that are wall time."""
    from jorip.training.events import WALL

    return [{k: v for k, v in e.items() if k not in WALL} for e in events]
