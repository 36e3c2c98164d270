"""Plain text: a row a line, or the whole file as one row; and line-aligned files."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest

from jorip.core.errors import ConfigError, DataError
from jorip.data.files import fault
from jorip.data.records import Record, Wanted
from jorip.data.source import Source


def one_role(wanted: Wanted, file: str) -> str:
    """The role that a plain text plays."""
    if len(wanted.roles) == 1:
        return wanted.roles[0]
    names = ", ".join(wanted.roles)
    raise ConfigError(f"{file}: a plain text has one column, but {names} are needed; use tsv, csv, jsonl or paths:")


def read_text(lines: Iterable[str], source: Source, wanted: Wanted, file: str) -> Iterator[Record]:
    """Blank lines are no rows."""
    role = one_role(wanted, file)
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\n")
        if line.strip():
            why = fault(line, source.encoding)
            yield Record(number, None if why else {role: line}, why, line)


def read_whole(lines: Iterable[str], source: Source, wanted: Wanted, file: str) -> Iterator[Record]:
    """All good lines as one text, cut to `span`; bad lines are records without values."""
    role, good = one_role(wanted, file), []
    for number, line in enumerate(lines, 1):
        if why := fault(line, source.encoding):
            yield Record(number, None, why, line)
        else:
            good.append(line)
    text = "".join(good)
    start, stop = (int(len(text) * f) for f in source.span)  # as nanoGPT cuts: data[:int(n * 0.9)]
    if text:
        yield Record(1, {role: text[start:stop]}, "", text[:200], len(good))


def read_parallel(files: Mapping[str, Iterable[str]], source: Source, wanted: Wanted, file: str) -> Iterator[Record]:
    """Line n of each file belongs together, so a blank line is a bad row. Unequal counts are a DataError."""
    missing = [role for role in wanted.roles if role not in files]
    if missing:
        raise ConfigError(f"{file}: paths has {', '.join(files)}, but needed is {', '.join(missing)}")
    counts = dict.fromkeys(files, 0)
    for number, lines in enumerate(zip_longest(*files.values()), 1):
        for role, line in zip(files, lines):
            counts[role] += line is not None
        if None in lines:
            continue  # count on, to say how many lines each file has
        texts = {role: line.rstrip("\n") for role, line in zip(files, lines)}
        why = next(filter(None, (fault(t, source.encoding) for t in texts.values())), "")
        values = {role: text for role, text in texts.items() if role in wanted.all}
        yield Record(number, None if why else values, why, " | ".join(texts.values()))
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{role} has {n}" for role, n in counts.items())
        raise DataError(f"{file}: line-aligned files need equally many lines; {found}")
