"""The data sets that every machine has, because they are generated, as rows."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from jorip.core.errors import ConfigError
from jorip.data import copying, dates, listops, recall, stdlib
from jorip.data.records import Row, Wanted
from jorip.data.source import Source, explain

# name -> its module, its options, and the columns of its rows
_SETS = {
    "dates": (dates, dates.DatesOptions, ("source", "target", "locale", "format")),
    "stdlib": (stdlib, stdlib.StdlibOptions, ("text", "file")),
    "listops": (listops, listops.ListOpsOptions, ("text", "label")),
    "recall": (recall, recall.RecallOptions, ("words", "tags", "text", "label")),
    "copy": (copying, copying.CopyOptions, ("words", "tags")),
}


def parse_options(name: str, options: dict[str, Any]) -> Any:
    """From YAML, of the data set `name`; a mistake is a ConfigError that says where."""
    model = _SETS[name][1]
    try:
        return model.model_validate(options)
    except ValidationError as e:
        raise ConfigError(explain(e, f"builtin {name}", model)) from None


def read_builtin(source: Source, wanted: Wanted) -> Iterator[Row]:
    """Rows of the split, as `generate` of the module makes them. ConfigError for roles that the set does not have."""
    name = str(source.builtin)
    module, _, known = _SETS[name]
    options = parse_options(name, source.options)
    columns = {role: str(source.columns.get(role, role)) for role in wanted.all}
    columns = {role: c for role, c in columns.items() if role in wanted.roles or c in known}
    for column in columns.values():
        if column not in known:
            raise ConfigError(f"builtin {name} has no {column!r}; it has {', '.join(known)}")
    rows = module.generate(options)[source.split]
    kept = 0
    for index, row in enumerate(rows):
        if not source.picks(index):
            continue
        yield {**{role: row[c] for role, c in columns.items()}, "row": index + 1}
        kept += 1
        if kept == source.limit:
            return
