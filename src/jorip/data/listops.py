"""ListOps: the value of a nested expression of list operations (Nangia and Bowman 2018, 1804.06028), generated with the
parameters of Long Range Arena (Tay et al. 2020, 2011.04006): a task for long inputs with a structure to be found.

    x 2 9 n 3 4 ] 0 ]  ->  9        max(2, 9, min(3, 4), 0)

A token is one letter, so that a text of n characters is a sequence of n tokens, as Long Range Arena counts them (one
for each digit, operator and closing bracket): n MIN, x MAX, m MED (the median, rounded down), s SM (the sum modulo
10), ] the end of an operator's arguments, and the digits. Texts are written without spaces.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, Field, model_validator

from jorip.core.errors import ConfigError
from jorip.data.draws import Draws

OPERATORS = "nxms"  # MIN, MAX, MED, SM
LETTERS = np.frombuffer(b"0123456789nxms]", np.uint8)
_END = 14
_OPERATOR = 0.25  # how often a node that may be an operator is one
_AT_ONCE = 50_000  # roots, of which few become trees of a wanted length
_FRUITLESS = 200  # rounds without a new tree after which there are no more


class ListOpsOptions(BaseModel, frozen=True, extra="forbid", strict=True):
    """seed: which expressions are drawn; train, val, test: how many; min_length, max_length: tokens of an expression
    lie strictly between; max_depth: of the nesting; max_args: of an operator (two at least). The defaults are Long
    Range Arena's."""

    seed: Annotated[int, Field(ge=0)] = 0
    train: Annotated[int, Field(ge=1, le=1_000_000)] = 96_000
    val: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    test: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    min_length: Annotated[int, Field(ge=1)] = 500
    max_length: Annotated[int, Field(ge=3, le=100_000)] = 2_000
    max_depth: Annotated[int, Field(ge=2, le=20)] = 10
    max_args: Annotated[int, Field(ge=2, le=20)] = 10

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.max_length - self.min_length < 2:
            raise ValueError(
                f"no length lies between min_length and max_length, found {self.min_length} and {self.max_length}"
            )
        return self


@lru_cache(maxsize=2)
def generate(options: ListOpsOptions) -> dict[str, list[dict[str, str]]]:
    """{test, val, train: [{text, label}]}, each text once: the first ones are the test set, so that it is the same
    whatever the size of the training set. ConfigError when so many do not exist."""
    sizes = {"test": options.test, "val": options.val, "train": options.train}
    found = _unique(options, sum(sizes.values()))
    return {split: [next(found) for _ in range(size)] for split, size in sizes.items()}


def _unique(options: ListOpsOptions, wanted: int) -> Iterator[dict[str, str]]:
    draws, seen, fruitless = Draws(options.seed, 0x115705), set(), 0
    while len(seen) < wanted:
        before = len(seen)
        for text, value in expressions(draws, options):
            if text not in seen:
                seen.add(text)
                yield {"text": text, "label": value}
        fruitless = fruitless + 1 if len(seen) == before else 0
        if fruitless == _FRUITLESS:
            raise ConfigError(
                f"builtin listops: {wanted} different expressions of {options.min_length} to {options.max_length} "
                f"tokens were asked for and {len(seen)} found: ask for fewer, or raise max_depth or max_args"
            )


class Level(NamedTuple):
    """The nodes at one depth, those of a parent together: parent: index into the level above; code: of the digit or
    operator in LETTERS; kids: how many arguments (0 for a digit)."""

    parent: np.ndarray
    code: np.ndarray
    kids: np.ndarray


def expressions(draws: Draws, options: ListOpsOptions) -> Iterator[tuple[str, str]]:
    """(text, value) of the trees of a wanted length among many. All trees grow at once, level by level."""
    levels, small = _grow(draws, options)
    sizes = _sizes(levels)[0]
    kept = small & (options.min_length < sizes) & (sizes < options.max_length)
    if not kept.any():
        return
    levels = _only(levels, kept)
    sizes, values = _sizes(levels), _values(levels)
    ends = sizes[0].cumsum()
    text = _tokens(levels, sizes).tobytes().decode("ascii")
    for start, end, value in zip((ends - sizes[0]).tolist(), ends.tolist(), values.tolist()):
        yield text[start:end], str(value)


def _grow(draws: Draws, options: ListOpsOptions) -> tuple[list[Level], np.ndarray]:
    """The levels, and (roots,) which trees are whole: those that became too long were not grown to their end."""
    parent = tree = np.arange(_AT_ONCE)
    levels, nodes = [], np.zeros(_AT_ONCE, np.int64)
    for depth in range(1, options.max_depth + 1):
        n = len(parent)
        operator = (draws.uniform(n) < _OPERATOR) & (depth < options.max_depth)
        code = draws.below(np.where(operator, len(OPERATORS), 10), n) + 10 * operator
        nodes += np.bincount(tree, 1 + operator, _AT_ONCE).astype(np.int64)
        operator &= nodes[tree] < options.max_length
        kids = np.zeros(n, np.int64)
        kids[operator] = 2 + draws.below(options.max_args - 1, int(operator.sum()))
        levels.append(Level(parent, code, kids))
        parent = np.repeat(np.arange(n), kids)
        tree = tree[parent]
        if not len(parent):
            break
    return levels, nodes < options.max_length


def _sizes(levels: list[Level]) -> list[np.ndarray]:
    """Tokens of each node's expression, from the deepest level up."""
    found = [np.ones(len(levels[-1].code), np.int64)]
    for level, below in zip(levels[-2::-1], levels[:0:-1]):
        inside = np.bincount(below.parent, found[0], len(level.code)).astype(np.int64)
        found.insert(0, 1 + inside + (level.kids > 0))
    return found


def _only(levels: list[Level], kept: np.ndarray) -> list[Level]:
    """The trees whose root is kept."""
    found = []
    for number, level in enumerate(levels):
        mine = kept if number == 0 else kept[level.parent]
        renumbered = np.cumsum(kept) - 1
        parent = level.parent[mine] if number == 0 else renumbered[level.parent[mine]]
        if not mine.any():
            break
        found.append(Level(parent, level.code[mine], level.kids[mine]))
        kept = mine
    return found


def _values(levels: list[Level]) -> np.ndarray:
    """(trees,): what each expression is worth, from the deepest level up."""
    below: tuple[np.ndarray, np.ndarray] | None = None
    values = np.zeros(0, np.int64)
    for level in reversed(levels):
        values = level.code.copy()
        if below is not None:
            parent, inner = below
            operators = np.flatnonzero(level.kids)
            first = level.kids[operators].cumsum() - level.kids[operators]
            values[operators] = _apply(level.code[operators], inner, parent, first, level.kids[operators])
        below = level.parent, values
    return values


def _apply(code: np.ndarray, values: np.ndarray, group: np.ndarray, first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Each operator on its arguments, values[first : first + count]; group rises with the operators."""
    ordered = values[np.lexsort((values, group))]
    median = (ordered[first + (count - 1) // 2] + ordered[first + count // 2]) // 2
    sums = np.add.reduceat(values, first) % 10
    return np.select([code == 10, code == 11, code == 12], [ordered[first], ordered[first + count - 1], median], sums)


def _tokens(levels: list[Level], sizes: list[np.ndarray]) -> np.ndarray:
    """All expressions one after the other, (tokens,) letters."""
    total = int(sizes[0].sum())
    out = np.empty(total, np.int64)
    at = sizes[0].cumsum() - sizes[0]
    for level, size, below in zip(levels, sizes, [*zip(levels[1:], sizes[1:]), None]):
        out[at] = level.code
        operators = np.flatnonzero(level.kids)
        out[at[operators] + size[operators] - 1] = _END
        if below is not None:
            (deeper, inner), count = below, level.kids[operators]
            before = inner.cumsum() - inner  # within all nodes of the level; from there on within one operator
            first = count.cumsum() - count
            at = at[deeper.parent] + 1 + before - np.repeat(before[first], count)
    return LETTERS[out]
