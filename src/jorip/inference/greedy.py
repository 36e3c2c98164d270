"""Greedy choice, and the loop that choosing one token at a time needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from jorip.inference.generated import Generated, reasons
from jorip.inference.session import Session


class Choose(Protocol):
    def __call__(self, scores: Tensor, rows: Tensor, step: int) -> Tensor:
        """scores (n, vocab) of the rows (n,) that go on -> ids (n,)."""
        ...


def greedy(scores: Tensor, rows: Tensor, step: int) -> Tensor:
    """The likeliest token; of equally likely ones the lowest id."""
    return scores.argmax(1)


def one_by_one(session: Session, choose: Choose) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yields (rows, ids, log-probabilities) step by step, each (n,): rows that have ended are no longer in them.

    Ended rows leave the batch, so that work shrinks with it.
    """
    ends = torch.tensor(session.options.ends)
    rows = torch.arange(len(session.limits))
    alive = (session.limits > 0).nonzero()[:, 0]
    if not len(alive):
        return
    scores = session.start()[alive]
    session.select(alive)
    rows, made = alive, 0
    while True:
        ids = choose(scores, rows, made)
        made += 1
        yield rows, ids, scores.log_softmax(1).gather(1, ids[:, None])[:, 0]
        going = session.limits[rows] > made
        if len(ends):
            going &= ~torch.isin(ids.cpu(), ends)
        keep = going.nonzero()[:, 0]
        if not len(keep):
            return
        session.select(keep)
        rows, ids = rows[keep], ids[keep.to(ids.device)]
        scores = session.step(ids)


def collect(session: Session, choose: Choose) -> Generated:
    """All steps as one table."""
    batch, options = len(session.limits), session.options
    columns, lengths = [], torch.zeros(batch, dtype=torch.int64)
    totals = torch.zeros(batch, dtype=torch.float64)
    last = torch.full((batch,), -1)
    for rows, ids, logp in one_by_one(session, choose):
        column = torch.full((batch,), options.fill)
        column[rows] = last[rows] = ids.cpu()
        columns.append(column)
        lengths[rows] += 1
        totals[rows] += logp.double().cpu()
    tokens = torch.stack(columns, 1) if columns else torch.zeros(batch, 0, dtype=torch.int64)
    ended = reasons(torch.isin(last, torch.tensor(options.ends or (-2,))), lengths, options.max_new_tokens)
    device = session.prompts.values.device
    return Generated(tokens.to(device), lengths.to(device), ended, totals.to(device))
