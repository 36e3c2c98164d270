"""The data sets that every machine has, because they are generated, as rows."""

from collections.abc import Iterator

from jorip.core.errors import ConfigError
from jorip.data import copying, dates, listops, recall, stdlib
from jorip.data.records import Row, Wanted
from jorip.data.source import Source

# name -> its module and the columns of its rows
_SETS = {
    "dates": (dates, ("source", "target", "locale", "format")),
    "stdlib": (stdlib, ("text", "file")),
    "listops": (listops, ("text", "label")),
    "recall": (recall, ("words", "tags", "text", "label")),
    "copy": (copying, ("words", "tags")),
}


def read_builtin(source: Source, wanted: Wanted) -> Iterator[Row]:
    """Rows of the split, as `generate` of the module makes them. ConfigError for roles that the set does not have."""
    module, known = _SETS[str(source.builtin)]
    options = module.parse_options(source.options)
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
