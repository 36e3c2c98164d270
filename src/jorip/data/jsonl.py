"""JSON lines: one object a line; values are strings, numbers, true/false, or lists of these."""

import json
from collections.abc import Iterable, Iterator

from jorip.data.files import fault
from jorip.data.records import Record, Wanted, no_column
from jorip.data.source import Source


def read_jsonl(lines: Iterable[str], source: Source, wanted: Wanted, file: str) -> Iterator[Record]:
    """A key that the first good object lacks is a wrong column (DataError); later, it is a bad row."""
    keys = {role: str(source.columns.get(role, role)) for role in wanted.all}
    first = True
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\n")
        if not line.strip():
            continue
        if why := fault(line, source.encoding):
            yield Record(number, None, why, line)
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as e:
            yield Record(number, None, f"not JSON: {e}", line)
            continue
        if not isinstance(entry, dict):
            yield Record(number, None, f"a JSON {type(entry).__name__} instead of an object {{...}}", line)
            continue
        if first:
            for role in wanted.roles:
                if keys[role] not in entry:
                    raise no_column(file, keys[role], role, [k.encode("utf-8", "replace").decode() for k in entry])
            first = False
        yield _record(number, entry, keys, wanted, line)


def _record(number: int, entry: dict, keys: dict[str, str], wanted: Wanted, line: str) -> Record:
    values = {}
    for role, key in keys.items():
        if key not in entry:
            if role in wanted.optional:
                continue
            return Record(number, None, f"no key {key!r}", line)
        value = entry[key]
        if isinstance(value, list) and not any(isinstance(v, list | dict) for v in value):
            values[role] = [_text(v) for v in value]
        elif isinstance(value, list | dict):
            return Record(number, None, f"{key!r} is nested; it must be a text or a list of texts", line)
        else:
            values[role] = _text(value)
        for part in values[role] if isinstance(values[role], list) else [values[role]]:
            if why := fault(part):
                return Record(number, None, f"{key!r}: {why}", line)
    return Record(number, values, "", line)


def _text(value) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
