"""Rows of a user's data, whatever the format: checked, counted, the bad ones put aside."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from jorip.core.errors import DataError
from jorip.data.builtin import read_builtin
from jorip.data.conll import read_conll
from jorip.data.conllu import read_conllu
from jorip.data.delimited import read_delimited
from jorip.data.files import find, read_lines
from jorip.data.jsonl import read_jsonl
from jorip.data.plain import read_parallel, read_text, read_whole
from jorip.data.quarantine import Quarantine
from jorip.data.records import Record, Row, Wanted
from jorip.data.source import Source
from jorip.data.squad import read_squad

_READERS = {
    "text": read_text,
    "tsv": read_delimited,
    "csv": read_delimited,
    "jsonl": read_jsonl,
    "conllu": read_conllu,
    "conll": read_conll,
    "squad": read_squad,
}


def read_rows(
    source: Source,
    roles: Iterable[str],
    *,
    optional: Iterable[str] = (),
    lists: Iterable[str] = (),
    whole: Iterable[str] = (),
    base: Path | str = ".",
    quarantine: Quarantine | None = None,
) -> Iterator[Row]:
    """Yields {role: text, ..., "row": line number from 1} for each good row, in file order.

    `roles` must be there, `optional` ones may. `lists` says which roles are lists of words: JSON lists, CoNLL-U
    columns, or words separated by spaces elsewhere; all lists of a row are equally long. `whole` lists hold whole
    texts: one text is a list of one. Bad rows go to `quarantine`.
    DataError: no file, empty, wrong column, unequal lengths of parallel files, damaged gzip, too many bad rows.
    """
    wanted = Wanted(tuple(roles), tuple(optional), tuple(lists), tuple(whole))
    if source.builtin:
        yield from read_builtin(source, wanted)
        return
    quarantine = Quarantine() if quarantine is None else quarantine
    file, records = _open(source, wanted, Path(base))
    index = seen = kept = bad = 0
    for index, record in enumerate(records, 1):
        if not source.picks(index - 1):
            continue
        seen += record.lines
        values, why = (None, record.why) if record.values is None else _checked(record.values, wanted)
        if values is None:
            quarantine.add(file, record.line, why, record.text, record.lines)
            bad += record.lines
            if bad >= 100 and bad > max(seen / 2, source.bad_rows):  # a wrong format: no need to read on
                quarantine.check(file, bad, seen, source.bad_rows)
            continue
        kept += 1
        yield {**values, "row": record.line}
        if kept == source.limit:
            break
    if index == 0:
        raise DataError(f"{file}: has no rows" if _size(source, base) else f"{file}: is empty")
    quarantine.check(file, bad, seen, source.bad_rows)
    if kept == 0:
        raise DataError(f"{file}: no row is left of {index}; look at take, drop, span and bad_rows")


def read_all(source: Source, roles: Iterable[str], **more) -> list[Row]:
    """`read_rows` as a list."""
    return list(read_rows(source, roles, **more))


def _open(source: Source, wanted: Wanted, base: Path) -> tuple[str, Iterator[Record]]:
    if source.paths is not None:
        file = " + ".join(source.paths.values())
        streams = {role: read_lines(find(path, base), source.encoding) for role, path in source.paths.items()}
        return file, read_parallel(streams, source, wanted, file)
    file = str(source.path)
    whole = source.unit == "file" or source.kind == "squad"
    if source.unit == "file" and source.kind != "text":
        raise DataError(f"{file}: unit: file is for plain text, and this is {source.kind}")
    lines = read_lines(find(file, base), source.encoding, *([None] if whole else []))
    return file, (read_whole if source.unit == "file" else _READERS[source.kind])(lines, source, wanted, file)


def _size(source: Source, base: Path | str) -> int:
    return sum(find(p, base).stat().st_size for p in (source.paths or {"": str(source.path)}).values())


def _checked(values: dict, wanted: Wanted) -> tuple[dict | None, str]:
    """The values with lists made lists, or None and why."""
    lengths = {}
    for role, value in list(values.items()):
        if role in wanted.optional and not (value if isinstance(value, list) else str(value).strip()):
            del values[role]
        elif role in wanted.lists:
            one = [value] if role in wanted.whole else str(value).split()
            value = one if isinstance(value, str) else value
            values[role], lengths[role] = value, len(value)
            if not value or not all(str(v).strip() for v in value):
                return None, f"empty {role}" if not value else f"an empty word in {role}"
        elif isinstance(value, list):
            return None, f"{role} is a list; it must be one text"
        elif not str(value).strip():
            return None, f"empty {role}"
    if len(set(lengths.values())) > 1:
        return None, "unequal lengths: " + ", ".join(f"{n} {role}" for role, n in lengths.items())
    return values, ""
