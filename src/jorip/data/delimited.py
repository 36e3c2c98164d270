"""TSV and CSV. TSV has no quotes unless asked; CSV has them, and fields may hold line breaks."""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain

from jorip.core.errors import DataError
from jorip.data.files import LONGEST, fault, printable
from jorip.data.records import Record, Wanted, no_column
from jorip.data.source import Source


def read_delimited(lines: Iterable[str], source: Source, wanted: Wanted, file: str) -> Iterator[Record]:
    """Blank lines are no rows. DataError when a wanted column is not there or the header cannot be told."""
    tabs = source.kind == "tsv"
    quoting = source.quoting if source.quoting is not None else not tabs
    split = _quoted if quoting else _split
    rows = split(lines, "\t" if tabs else ",")
    first = next(rows, None)
    if first is None:
        return
    if first[1] is None:
        raise DataError(f"{file}, line {first[0]}: {first[2]}: {printable(first[3])[:80]!r}")
    head = first[1]
    header = _has_header(head, source, wanted, file)
    if header and (why := fault(first[3], source.encoding)):
        raise DataError(f"{file}, line {first[0]}, the header: {why}")
    columns = _columns(head, header, source, wanted, file)
    for line, fields, why, text, count in rows if header else chain([first], rows):
        if fields is None or (why := fault(text, source.encoding)):
            yield Record(line, None, why, text, count)
        elif len(fields) != len(head):
            yield Record(line, None, f"{len(fields)} columns instead of {len(head)}", text, count)
        else:
            yield Record(line, {role: fields[i] for role, i in columns.items()}, "", text, count)


def _split(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str] | None, str, str, int]]:
    for number, line in enumerate(lines, 1):
        if line := line.rstrip("\n"):
            yield number, line.split(delimiter), "", line, 1


def _quoted(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str] | None, str, str, int]]:
    """`csv` in strict mode: text after a closing quote or a quote left open is a bad row, not a guess."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))  # the process's limit is 131,072: short of a document
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as e:
            why = f"quotes: {e}" + (f" (lines {start} to {reader.line_num})" if reader.line_num > start else "")
            yield start, None, why, "", max(1, reader.line_num - start + 1)
            continue
        if fields:
            yield start, fields, "", delimiter.join(fields), 1


def _has_header(head: list[str], source: Source, wanted: Wanted, file: str) -> bool:
    if source.header != "auto":
        return source.header
    if source.columns:
        return any(isinstance(c, str) for c in source.columns.values())
    if any(role in head for role in wanted.all):
        return True
    names = ", ".join(repr(printable(h)[:40]) for h in head[:10])
    roles = ", ".join(f"{r}: {i}" for i, r in enumerate(wanted.roles))
    raise DataError(
        f"{file}: cannot tell whether its first line ({names}) is a header; set header: true and columns by name, "
        f"or header: false and columns by number, such as columns: {{{roles}}}"
    )


def _columns(head: list[str], header: bool, source: Source, wanted: Wanted, file: str) -> dict[str, int]:
    columns: dict[str, int] = {}
    for place, role in enumerate(wanted.all):
        column = source.columns.get(role)
        if column is None:
            if header:
                column = role
            elif source.columns or (len(head) != len(wanted.all) and len(head) != len(wanted.roles)):
                if role in wanted.optional:
                    continue
                raise DataError(
                    f"{file}: which of its {len(head)} columns is {role}? There is no header: "
                    f"give columns: {{{role}: number from 0}}"
                )
            else:
                column = place
        if isinstance(column, str):
            if not header:
                raise DataError(f"{file}: columns.{role} is a name, {column!r}, but header is false; give its number")
            if column not in head:
                if role in wanted.optional:
                    continue
                raise no_column(file, column, role, [printable(h) for h in head])
            if head.count(column) > 1:
                raise DataError(f"{file}: {head.count(column)} columns are called {column!r}; give the number")
            column = head.index(column)
        if column >= len(head):
            if role in wanted.optional:
                continue
            raise DataError(
                f"{file}: columns.{role} is {column}, but there are {len(head)} columns, 0 to {len(head) - 1}"
            )
        columns[role] = column
    return columns
