"""Beam search: keeps the `beams` likeliest beginnings of each sequence (Graves 2012, 1211.3711).

Hypotheses are compared by log p / ((5 + n) / 6)^length_penalty, n = new tokens with eos (Wu et al. 2016, 1609.08144,
Eq 14; Vaswani et al. 2017 use 0.6; 0 compares sums), or by log p / n^length_penalty. A hypothesis is finished when its
eos is among the `beams` best continuations. A sequence is done when it has `beams` finished hypotheses and the best
running one, as it stands, does not beat the worst of them; early_stopping True does not ask the running one, "never"
asks it as if it were as long as it may get. At the length limit the running ones count as they are. Exact ties: the
better beam first, then the lower id.

With length_norm="length" and renormalise=False this is transformers' search, early_stopping included: the same ids.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from jorip.inference.generated import Generated, reasons
from jorip.inference.largest import largest
from jorip.inference.options import LengthNorm
from jorip.inference.session import Session, nothing_left

_NEVER = float("-inf")


@dataclass
class Finished:
    """The best `beams` finished hypotheses of one sequence, best first: (score, tokens, whether by eos)."""

    beams: int
    alpha: float
    norm: LengthNorm = "google"
    early: bool | Literal["never"] = False
    best: list[tuple[float, Tensor, bool]] = field(default_factory=list)

    def score(self, total: float, length: int) -> float:
        return total / (length if self.norm == "length" else (5 + length) / 6) ** self.alpha

    def add(self, total: float, tokens: Tensor, by_eos: bool) -> None:
        if total > _NEVER:
            self.best.append((self.score(total, len(tokens)), tokens, by_eos))
            self.best = sorted(self.best, key=lambda h: -h[0])[: self.beams]  # stable: of equal ones the earlier

    def beats(self, total: float, length: int, limit: int = 0) -> bool:
        """Whether the best running hypothesis is not worth going on with. limit: the most tokens it may get."""
        if len(self.best) < self.beams or self.early is True:
            return len(self.best) == self.beams
        length = limit if self.early == "never" and self.alpha > 0 else length
        return self.best[-1][0] >= self.score(total, length)


@dataclass
class Running:
    """What n sequences go on with: totals (n, beams) of log-probabilities, tokens (n, beams, t), best first.

    Of a beam that does not exist the total is -inf. parent (n, beams): the row of the last step it came from.
    """

    totals: Tensor
    tokens: Tensor
    parent: Tensor

    def expand(self, scores: Tensor, eos: tuple[int, ...], normed: bool) -> tuple[Running, Running]:
        """scores (n * beams, vocab), normed: log-probabilities already -> the `beams` best that go on, and those of the
        `beams` best that end here."""
        n, beams = self.totals.shape
        enough = (1 + max(1, len(eos))) * beams
        value, ids = largest(scores, enough)
        if not normed:
            whole = scores.logsumexp(1, keepdim=True)  # -inf where nothing may follow: that beam ends here
            value = torch.where(whole > _NEVER, value - whole, _NEVER)
        value = value.double()
        width = value.shape[1]
        flat, place = largest((self.totals.reshape(-1, 1) + value).reshape(n, -1), enough)
        parent = place // width + torch.arange(n, device=place.device)[:, None] * beams
        ids = ids.reshape(n, -1).gather(1, place)
        every = Running(flat, torch.cat([self.tokens.flatten(0, 1)[parent], ids[..., None]], 2), parent)
        ends = torch.isin(ids, torch.tensor(eos, dtype=torch.int64, device=ids.device))
        order = ends.to(torch.int8).argsort(dim=1, stable=True)[:, :beams]
        going = every.where(~ends).at(order)
        return going, every.where(ends).at(torch.arange(beams, device=order.device).expand(n, beams))

    def where(self, keep: Tensor) -> Running:
        return Running(self.totals.masked_fill(~keep, _NEVER), self.tokens, self.parent)

    def at(self, index: Tensor) -> Running:
        """index (n, beams) along the hypotheses of each sequence."""
        tokens = self.tokens.gather(1, index[..., None].expand(-1, -1, self.tokens.shape[2]))
        return Running(self.totals.gather(1, index), tokens, self.parent.gather(1, index))

    def of(self, rows: Tensor) -> Running:
        return Running(self.totals[rows], self.tokens[rows], self.parent[rows])


def beam(session: Session) -> Generated:
    """The best hypothesis of each row. Sequences that are done leave the batch."""
    options, batch = session.options, len(session.limits)
    finished = [
        Finished(options.beams, options.length_penalty, options.length_norm, options.early_stopping)
        for _ in range(batch)
    ]
    alive = (session.limits > 0).nonzero()[:, 0]
    if len(alive):
        search(session, finished, alive)
    if options.no_repeat_ngram and any(not finished[row].best for row in alive.tolist()):
        raise nothing_left(options)
    found = [f.best[0] if f.best else (0.0, torch.zeros(0, dtype=torch.int64), False) for f in finished]
    device = session.prompts.values.device
    lengths = torch.tensor([len(tokens) for _, tokens, _ in found], dtype=torch.int64)
    tokens = torch.full((batch, int(lengths.max()) if batch else 0), options.fill)
    for i, (_, row, _) in enumerate(found):
        tokens[i, : len(row)] = row
    ended = reasons(torch.tensor([e for *_, e in found], dtype=torch.bool), lengths, options.max_new_tokens)
    scores = torch.tensor([s for s, *_ in found], dtype=torch.float64)
    return Generated(tokens.to(device), lengths.to(device), ended, scores.to(device))


def search(session: Session, finished: list[Finished], rows: Tensor) -> None:
    """Fills `finished` for the sequences `rows` (n,)."""
    beams, eos, normed = session.options.beams, session.options.ends, not session.options.renormalise
    scores = session.start()
    device = scores.device
    first = rows.to(device).repeat_interleave(beams)
    session.select(first)
    scores = scores[first]
    totals = torch.full((len(rows), beams), _NEVER, dtype=torch.float64, device=device)
    totals[:, 0] = 0  # all copies are the same at first: only one counts
    empty = torch.zeros(len(rows), beams, 0, dtype=torch.int64, device=device)
    running, made = Running(totals, empty, torch.zeros_like(totals, dtype=torch.int64)), 0
    while True:
        running, ends = running.expand(scores, eos, normed)
        made += 1
        keep = torch.tensor(settle(finished, rows, running, ends, made, session.limits[rows].tolist()))
        going = keep.nonzero()[:, 0]
        if not len(going):
            return
        rows, running = rows[going], running.of(going.to(device))
        session.select(running.parent.reshape(-1))
        scores = session.step(running.tokens[..., -1].reshape(-1))


def settle(
    finished: list[Finished], rows: Tensor, running: Running, ends: Running, made: int, limits: list[int]
) -> list[bool]:
    """Stores what ended; says of each sequence whether it goes on."""
    going, ended = running.totals.tolist(), ends.totals.tolist()
    keep = []
    for i, row in enumerate(rows.tolist()):
        done, last = finished[row], made >= limits[i]
        for b, total in enumerate(ended[i]):
            done.add(total, ends.tokens[i, b].cpu(), True) if total > _NEVER else None
        if last:
            for b, total in enumerate(going[i]):
                done.add(total, running.tokens[i, b].cpu(), False)
        keep.append(not last and going[i][0] > _NEVER and not done.beats(going[i][0], made, limits[i]))
    return keep
