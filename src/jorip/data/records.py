"""What every format's reader yields, and how it finds its columns."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jorip.core.errors import DataError, did_you_mean

Row = dict[str, Any]  # {role: str or list[str], "row": int line number from 1}


class Record(NamedTuple):
    """One record of a file: `values` by role, or why there are none. `lines`: file lines that it covers."""

    line: int
    values: dict[str, Any] | None
    why: str = ""
    text: str = ""
    lines: int = 1


class Wanted(NamedTuple):
    """Roles that must be there, roles that may, and which of them are lists of words or tags; `whole`: lists whose
    entries are whole texts, so that a single text is one entry and not its words."""

    roles: tuple[str, ...]
    optional: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return self.roles + tuple(r for r in self.optional if r not in self.roles)


def no_column(file: str, column: str, role: str, found: Sequence[str]) -> DataError:
    """The error for a column that is not there."""
    as_role = "" if column == role else f" (for {role})"
    tail = did_you_mean(column, found, 1)
    tail = tail if "did you mean" in tail else ""
    hint = f"; say which one it is: columns: {{{role}: ...}}" if column == role else ""
    if len(found) == 1 and (other := next((s for s in ";\t|," if s in found[0]), None)):
        hint = f"; the columns seem to be separated by {other!r}: use a .csv with commas or a .tsv with tabs"
    listed = ", ".join(repr(f) for f in found[:20])
    return DataError(f"{file}: no column {column!r}{as_role}; the columns are {listed}{tail}{hint}")
