"""Where answers lie: contexts cut into windows of tokens, answers as places in them, and how answers are scored."""

from __future__ import annotations

import re
import string
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jorip.data.tokenizers import Tokenizer


@dataclass(frozen=True)
class Window:
    """One input: question and a part of the context. row: of which question; ids, segments: what the model reads;
    offsets: the characters of the context under each of its tokens, which begin at `first`; cut: the question was too
    long, and its end is missing."""

    row: int
    ids: list[int]
    segments: list[int]
    first: int
    offsets: list[tuple[int, int]]
    cut: bool = False

    def place(self, start: int, end: int) -> tuple[int, int]:
        """The first and last token of the characters start:end; (0, 0), the first special token, when they are not all
        in this window."""
        if not self.offsets or start < self.offsets[0][0] or end > self.offsets[-1][1]:
            return 0, 0
        begin = max(i for i, (a, _) in enumerate(self.offsets) if a <= start)
        last = min(i for i, (_, b) in enumerate(self.offsets) if b >= end)
        return self.first + begin, self.first + max(last, begin)


def windows(row: int, t: Tokenizer, question: str, context: str, limit: int | None, stride: int | None) -> list[Window]:
    """The question with each part of the context: as many tokens as fit, `stride` further each time (half of what fits,
    when None). A question that is longer than half the room is cut."""
    asked, (ids, spans) = t.encode(question), t.encode_offsets(context)
    room = len(asked) + len(ids) if limit is None else max(limit - t.pair.extra, 2)
    cut = limit is not None and len(asked) > room // 2
    asked = asked[: room // 2] if cut else asked
    size = max(room - len(asked), 1)
    step = min(size, stride or max(size // 2, 1))
    found = []
    for start in range(0, max(len(ids), 1), step):
        whole, segments = t.with_specials(asked, ids[start : start + size])
        first = t.pair.starts(len(asked))[1]
        found.append(Window(row, whole, segments, first, spans[start : start + size], cut))
        if start + size >= len(ids):
            break
    return found


def best_span(scores: Tensor, window: Window, longest: int) -> tuple[float, int, int]:
    """Score and characters of the likeliest answer in a window: the best start + end with start <= end, at most
    `longest` tokens. scores (length, 2)."""
    n = len(window.offsets)
    s = scores[window.first : window.first + n]
    both = s[:, 0, None] + s[None, :, 1]
    allowed = torch.ones(n, n, dtype=torch.bool).triu() & torch.ones(n, n, dtype=torch.bool).tril(longest - 1)
    flat = int(both.masked_fill(~allowed, float("-inf")).argmax())
    start, end = flat // n, flat % n
    return float(both[start, end]), window.offsets[start][0], window.offsets[end][1]


_ARTICLES = re.compile(r"\b(a|an|the)\b")


def plain(text: str) -> str:
    """As SQuAD's own script compares: lower case, no punctuation, no English articles, single spaces."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact(prediction: str, answers: list[str]) -> float:
    return max((float(plain(prediction) == plain(a)) for a in answers), default=float(not prediction))


def f1(prediction: str, answers: list[str]) -> float:
    """Of the words of the prediction and an answer, the best over the answers."""
    return max((_f1(plain(prediction).split(), plain(a).split()) for a in answers), default=float(not prediction))


def _f1(a: list[str], b: list[str]) -> float:
    if not a or not b:
        return float(a == b)
    same = sum((Counter(a) & Counter(b)).values())
    return 2 * same / (len(a) + len(b))


def scores(predictions: list[str], rows: list[dict[str, Any]]) -> dict[str, float]:
    """exact_match and f1, means over the questions."""
    n = max(len(rows), 1)
    answers = [r.get("answers", []) for r in rows]
    return {
        "exact_match": sum(map(exact, predictions, answers)) / n,
        "f1": sum(map(f1, predictions, answers)) / n,
    }
