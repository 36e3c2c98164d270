"""What a search found."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Generated(NamedTuple):
    """tokens (batch, longest) int64, new ones only, filled after each row's end; lengths (batch,) int64, eos included;
    ended: why each row stopped, "eos", "max_new_tokens" or "max_len"; scores (batch,): sum of the log-probabilities
    that the model gave to the tokens (divided by the length penalty for beams)."""

    tokens: Tensor
    lengths: Tensor
    ended: list[str]
    scores: Tensor

    def usable(self) -> Generated:
        """Copies: torch forbids tensors made in inference mode in training."""
        return Generated(self.tokens.clone(), self.lengths.clone(), self.ended, self.scores.clone())


def reasons(eos: Tensor, lengths: Tensor, max_new_tokens: int) -> list[str]:
    """eos (batch,) bool: whether the row ended by itself."""
    return [
        "eos" if e else "max_new_tokens" if n == max_new_tokens else "max_len"
        for e, n in zip(eos.tolist(), lengths.tolist())
    ]
