"""Associative recall: keys with values, then keys whose values are asked for. What linear attention and recurrences
find hard, because everything must be held at once (Arora et al. 2023, 2312.04927: multi-query associative recall).

    words  k3 v7 k1 v2 k8 v7   k1 k3
    tags    -  -  -  -  -  -   v2 v7          - has no tag: nothing is asked there

For one question and its answer as a label (a `classify` run) the roles are text and label: `k3 v7 k1 v2 ? k1` and v2.
"""

from functools import lru_cache
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, model_validator

from jorip.core.errors import ConfigError
from jorip.data.draws import Draws

_SPLITS = ("train", "val", "test")


class RecallOptions(BaseModel, frozen=True, extra="forbid", strict=True):
    """pairs: of a row, each key once; queries: how many of its keys are asked for, in another order (at most pairs);
    keys, values: how many there are to choose from; seed, and numbers of rows."""

    seed: Annotated[int, Field(ge=0)] = 0
    train: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    val: Annotated[int, Field(ge=1, le=100_000)] = 500
    test: Annotated[int, Field(ge=1, le=100_000)] = 500
    pairs: Annotated[int, Field(ge=1, le=10_000)] = 32
    queries: Annotated[int, Field(ge=1, le=10_000)] = 32
    keys: Annotated[int, Field(ge=1, le=100_000)] = 64
    values: Annotated[int, Field(ge=2, le=100_000)] = 64

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.pairs > self.keys:
            raise ValueError(f"{self.pairs} pairs need as many different keys, found keys={self.keys}")
        if self.queries > self.pairs:
            raise ValueError(f"queries are of the row's own keys, at most pairs={self.pairs}, found {self.queries}")
        return self


@lru_cache(maxsize=2)
def generate(options: RecallOptions) -> dict[str, list[dict[str, Any]]]:
    """{train, val, test: [{words, tags, text, label}]}; no two rows of any splits have the same pairs. ConfigError when
    so many rows do not exist."""
    seen: set[str] = set()
    return {s: _rows(options, Draws(options.seed, n), getattr(options, s), s, seen) for n, s in enumerate(_SPLITS)}


def _rows(options: RecallOptions, draws: Draws, size: int, split: str, seen: set[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for _ in range(20):
        missing = size - len(rows)
        keys = draws.orders(missing, options.keys)[:, : options.pairs].tolist()
        values = draws.below(options.values, missing * options.pairs).reshape(missing, options.pairs).tolist()
        asked = draws.orders(missing, options.pairs)[:, : options.queries].tolist()
        for k, v, ask in zip(keys, values, asked):
            pairs = [word for key, value in zip(k, v) for word in (f"k{key}", f"v{value}")]
            name = " ".join(pairs)
            if name in seen:
                continue
            seen.add(name)
            questions, answers = [f"k{k[i]}" for i in ask], [f"v{v[i]}" for i in ask]
            rows.append({
                "words": pairs + questions, "tags": [None] * len(pairs) + answers,
                "text": f"{name} ? {questions[0]}", "label": answers[0],
            })  # fmt: skip
        if len(rows) == size:
            return rows
    raise ConfigError(
        f"builtin recall: {split}: {size} different rows of {options.pairs} pairs cannot be drawn; ask for fewer, or "
        "raise pairs, keys or values"
    )
