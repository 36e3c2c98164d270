"""Copy: a row of random symbols, then as many blanks, at which the symbols are to be said in order (Graves et al. 2014,
1410.5401). Each blank must look back exactly as far as the row is long: a window that is shorter cannot.

    words  s3 s0 s7   _  _  _
    tags    -  -  -  s3 s0 s7          - has no tag: nothing is asked there
"""

from functools import lru_cache
from itertools import islice
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, model_validator

from jorip.core.errors import ConfigError
from jorip.data.draws import Draws

BLANK = "_"
_SPLITS = ("train", "val", "test")


class CopyOptions(BaseModel, frozen=True, extra="forbid", strict=True):
    """symbols: how many there are; min_length, max_length: how many stand in a row (the sequence is twice as long);
    seed, and numbers of rows."""

    seed: Annotated[int, Field(ge=0)] = 0
    train: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    val: Annotated[int, Field(ge=1, le=100_000)] = 500
    test: Annotated[int, Field(ge=1, le=100_000)] = 500
    symbols: Annotated[int, Field(ge=2, le=100_000)] = 16
    min_length: Annotated[int, Field(ge=1, le=100_000)] = 64
    max_length: Annotated[int, Field(ge=1, le=100_000)] = 64

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length is above max_length, found {self.min_length} and {self.max_length}")
        return self


@lru_cache(maxsize=2)
def generate(options: CopyOptions) -> dict[str, list[dict[str, Any]]]:
    """{train, val, test: [{words, tags}]}; no row stands twice, in whatever splits. ConfigError when so many rows do
    not exist."""
    seen: set[str] = set()
    return {s: _rows(options, Draws(options.seed, n), getattr(options, s), s, seen) for n, s in enumerate(_SPLITS)}


def _rows(options: CopyOptions, draws: Draws, size: int, split: str, seen: set[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for _ in range(20):
        missing = size - len(rows)
        lengths = (options.min_length + draws.below(options.max_length - options.min_length + 1, missing)).tolist()
        drawn = iter(draws.below(options.symbols, sum(lengths)).tolist())
        for n in lengths:
            symbols = [f"s{i}" for i in islice(drawn, n)]
            name = " ".join(symbols)
            if name not in seen:
                seen.add(name)
                rows.append({"words": symbols + [BLANK] * n, "tags": [None] * n + symbols})
        if len(rows) == size:
            return rows
    raise ConfigError(
        f"builtin copy: {split}: {size} different rows of {options.min_length} to {options.max_length} symbols cannot "
        "be drawn; ask for fewer, or for longer ones"
    )
