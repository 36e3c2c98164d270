"""The two data sets that every machine has, as rows."""

from collections.abc import Iterator

from jorip.core.errors import ConfigError
from jorip.data import dates, stdlib
from jorip.data.records import Row, Wanted
from jorip.data.source import Source


def read_builtin(source: Source, wanted: Wanted) -> Iterator[Row]:
    """`dates` has source and target (and locale, format); `stdlib` has text (and file). ConfigError for other roles."""
    module = dates if source.builtin == "dates" else stdlib
    options = module.parse_options(source.options)
    known = {"dates": ("source", "target", "locale", "format"), "stdlib": ("text", "file")}[str(source.builtin)]
    columns = {role: str(source.columns.get(role, role)) for role in wanted.all}
    columns = {role: c for role, c in columns.items() if role in wanted.roles or c in known}
    for column in columns.values():
        if column not in known:
            raise ConfigError(f"builtin {source.builtin} has no {column!r}; it has {', '.join(known)}")
    rows = module.generate(options)[source.split]
    kept = 0
    for index, row in enumerate(rows):
        if not source.picks(index):
            continue
        yield {**{role: row[c] for role, c in columns.items()}, "row": index + 1}
        kept += 1
        if kept == source.limit:
            return
