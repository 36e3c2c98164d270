"""Encoded examples in memory: one flat tensor and where each example starts, so that a batch is one gather."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from jorip.core.errors import DataError
from jorip.core.layout import Packed
from jorip.core.random import mix_ints


class RaggedStore:
    """values (rows, *), offsets (examples + 1,) int64: example i is values[offsets[i] : offsets[i + 1]].

    Integers are kept as int32 where they fit and handed out as int64, as embeddings and losses want them.
    """

    def __init__(self, values: Tensor, offsets: Tensor) -> None:
        self.values, self.offsets = values, offsets

    @staticmethod
    def of(sequences: Iterable[Sequence[int]]) -> "RaggedStore":
        """From lists of ids."""
        sequences = list(sequences)
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        flat = np.fromiter(chain.from_iterable(sequences), np.int64, int(lengths.sum()))
        small = not len(flat) or -(2**31) <= int(flat.min()) <= int(flat.max()) < 2**31
        offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        return RaggedStore(torch.from_numpy(flat.astype(np.int32) if small else flat), torch.from_numpy(offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> Tensor:
        """One example (length, *), int64 if integer."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        return _wide(self.values[int(self.offsets[i]) : int(self.offsets[i + 1])])

    @property
    def sizes(self) -> Tensor:
        """(examples,) int64."""
        return self.offsets.diff()

    def take(self, ids: Sequence[int] | Tensor) -> Packed:
        """These examples in this order, one after the other; uid is the example's number."""
        ids = torch.as_tensor(ids, dtype=torch.int64)
        starts, lengths = self.offsets[ids], self.offsets[ids + 1] - self.offsets[ids]
        return Packed(_wide(self.values[gather_rows(starts, lengths)]), lengths, ids)

    def fingerprint(self) -> str:
        """sha256 over values and offsets."""
        digest = hashlib.sha256(f"{self.values.dtype} {tuple(self.values.shape)}".encode())
        digest.update(self.values.contiguous().numpy().tobytes())
        digest.update(self.offsets.numpy().tobytes())
        return digest.hexdigest()


def _wide(x: Tensor) -> Tensor:
    return x.long() if x.dtype == torch.int32 else x


def gather_rows(starts: Tensor, lengths: Tensor) -> Tensor:
    """(sum of lengths,) int64: starts[0], starts[0] + 1, ..., starts[1], ... for runs of `lengths`."""
    shift = starts - (lengths.cumsum(0) - lengths)
    return torch.arange(int(lengths.sum())) + shift.repeat_interleave(lengths)


class LanguageModelWindows:
    """A long stream of ids, cut into windows: input t of a window predicts id t + 1 of the stream.

    stream (n,) integers; `length` tokens a window. With a `seed`, windows start at another place of the stream in each
    epoch (a pure function of seed and epoch), so that over time every id is seen at every place of a window; there are
    always equally many, all of full length, which leaves out less than two windows of ids an epoch. With seed None the
    cut is always the same and every target is there exactly once, the last window being as long as what is left: for
    evaluation.
    """

    def __init__(self, stream: Tensor, length: int, seed: int | None = None) -> None:
        if len(stream) < 2:
            raise DataError(f"a language model needs at least two tokens of text; found {len(stream)}")
        if length < 1:
            raise DataError(f"windows need a length of at least 1 token; found {length}")
        self.stream, self.length, self.seed = stream, length, seed
        targets = len(stream) - 1
        if seed is None:
            count = -(-targets // length)
            self._room = 0
        else:
            count = max(1, (targets - length + 1) // length)
            self._room = max(0, targets - count * length)
        self.sizes = torch.full((count,), length, dtype=torch.int64)
        if (short := count * length - targets) > 0:
            self.sizes[-1] -= short

    def __len__(self) -> int:
        return len(self.sizes)

    def offset(self, epoch: int) -> int:
        """Where in the stream the first window of this epoch starts."""
        return 0 if self.seed is None else mix_ints(self.seed, epoch, 0x0FF5E7) % (self._room + 1)

    def take(self, ids: Sequence[int] | Tensor, epoch: int = 0) -> tuple[Packed, Packed]:
        """(inputs, targets) of these windows, each (tokens,) int64, equal lengths; uid is the window's number."""
        ids = torch.as_tensor(ids, dtype=torch.int64)
        lengths = self.sizes[ids]
        at = gather_rows(ids * self.length + self.offset(epoch), lengths)
        return Packed(self.stream[at].long(), lengths, ids), Packed(self.stream[at + 1].long(), lengths, ids)

    def fingerprint(self) -> str:
        """sha256 over the stream and how it is cut."""
        digest = hashlib.sha256(f"{self.stream.dtype} {self.length} {self.seed}".encode())
        digest.update(self.stream.contiguous().numpy().tobytes())
        return digest.hexdigest()
