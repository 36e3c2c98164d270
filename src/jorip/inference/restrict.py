"""What may come next: scores of tokens that must not be generated become -inf, those of repeated ones are lowered.

In this order: repetition penalty (Keskar et al. 2019, 1909.05858, Eq 2, also for negative scores), n-grams that would
be there twice (Paulus et al. 2017, 1705.04304, 2.5), forbidden ids, eos before its time, forced tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jorip.core.layout import Packed
from jorip.inference.options import Options

_NEVER = float("-inf")


class Restriction:
    """Of the rows of a session, which must tell what it selects and what each row gets."""

    def __init__(self, options: Options, prompts: Packed, limits: Tensor):
        """prompts: what each row starts with; limits (rows,): how many new tokens each may get."""
        device = prompts.values.device
        self.options, self.made, self.limits = options, 0, limits.to(device)
        self.forbid = torch.tensor(sorted(set(options.forbid)), dtype=torch.int64, device=device)
        self.early = torch.tensor(options.ends, dtype=torch.int64, device=device)
        self.history: Tensor | None = None  # (rows, length) of prompts and new tokens, right-aligned, -1 = nothing
        if options.no_repeat_ngram or options.repetition_penalty != 1:
            self.history = torch.stack(
                [
                    torch.cat([p.new_full((int(prompts.lengths.max()) - len(p),), -1), p])
                    for p in prompts.values.long().split(prompts.lengths.tolist())
                ]
            )

    def select(self, rows: Tensor) -> None:
        self.limits = self.limits[rows]
        self.history = None if self.history is None else self.history[rows]

    def add(self, ids: Tensor) -> None:
        """ids (rows,): the token that each row got."""
        self.made += 1
        self.history = None if self.history is None else torch.cat([self.history, ids[:, None]], 1)

    def __call__(self, scores: Tensor) -> Tensor:
        """scores (rows, vocab), changed in place where that is enough -> the same, restricted."""
        o = self.options
        if self.history is not None and o.repetition_penalty != 1:
            there = marked(self.history, scores.shape[1])
            lower = torch.where(scores < 0, scores * o.repetition_penalty, scores / o.repetition_penalty)
            scores = torch.where(there, lower, scores)
        if self.history is not None and o.no_repeat_ngram:
            scores = scores.masked_fill(marked(repeating(self.history, o.no_repeat_ngram), scores.shape[1]), _NEVER)
        if len(self.forbid):
            scores.index_fill_(1, self.forbid, _NEVER)
        if self.made < o.min_new_tokens:
            scores.index_fill_(1, self.early, _NEVER)
        if o.forced_first is not None and self.made == 0:
            scores = only(scores, o.forced_first)
        if o.forced_last is not None and bool((full := self.limits == self.made + 1).any()):
            scores = torch.where(full[:, None], only(scores, o.forced_last), scores)
        return scores


def marked(ids: Tensor, vocab: int) -> Tensor:
    """ids (rows, n), -1 = nothing -> (rows, vocab) bool: which ids are in each row."""
    found = torch.zeros(len(ids), vocab + 1, dtype=torch.bool, device=ids.device)
    return found.scatter_(1, torch.where(ids < 0, vocab, ids), True)[:, :vocab]


def repeating(history: Tensor, n: int) -> Tensor:
    """history (rows, length), right-aligned -> (rows, windows): what would complete an n-gram that is there already."""
    if history.shape[1] < n:
        return history[:, :0]
    windows = history.unfold(1, n, 1)
    suffix = history[:, history.shape[1] - n + 1 :]
    same = (windows[..., :-1] == suffix[:, None]).all(-1) & (windows >= 0).all(-1)
    return torch.where(same, windows[..., -1], -1)


def only(scores: Tensor, token: int) -> Tensor:
    """That token and no other, with log-probability 0."""
    scores = torch.full_like(scores, _NEVER)
    scores[:, token] = 0
    return scores
