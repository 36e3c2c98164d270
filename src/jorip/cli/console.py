"""Where output goes: results to standard output, everything else to standard error, both UTF-8."""

import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WIDE = 160  # columns when standard output is a file or a pipe: tables are not squeezed to 80


def first_process() -> bool:
    """Whether this is the process that talks: rank 0 under torchrun, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def utf8() -> None:
    """All three streams in UTF-8, whatever the locale. What cannot be encoded is escaped, never an exception."""
    for stream, errors in ((sys.stdin, "strict"), (sys.stdout, "backslashreplace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)


def out():
    """A console on standard output. Texts of users are not markup."""
    return _console(sys.stdout)


def err():
    """A console on standard error, for progress and notices; silent on ranks other than 0."""
    return _console(sys.stderr)


def _console(stream):
    from rich.console import Console

    width = None if stream.isatty() else WIDE
    return Console(
        file=stream, width=width, markup=False, highlight=False, emoji=False, quiet=not first_process(), soft_wrap=False
    )


def say(text: str) -> None:
    """A line for people, on standard error, on rank 0 only."""
    if first_process():
        print(text, file=sys.stderr, flush=True)


def say_cut(task: Any, inputs: int) -> None:
    """How many of so many inputs were longer than the model reads, if any were."""
    if task.cut:
        say(f"warning: {task.cut} of {inputs} inputs were cut at {task.limit} tokens")


def write(text: str) -> None:
    """A line of results, on standard output, on rank 0 only."""
    if first_process():
        print(text, flush=True)


def write_json(value: Any) -> None:
    """One JSON document. NaN and infinities, which JSON does not have, become text."""
    write(json.dumps(plain(value), ensure_ascii=False, indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """The value in JSON's terms."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if hasattr(value, "tolist"):  # tensors and numpy
        return plain(value.tolist())
    return str(value)


def write_json_list(values: Iterable[Any]) -> None:
    """One JSON list, an item a line, written as the items come: a reader may take it line by line or whole."""
    if not first_process():
        return
    start = "[\n"
    for value in values:
        sys.stdout.write(start + json.dumps(plain(value), ensure_ascii=False, allow_nan=False))
        sys.stdout.flush()
        start = ",\n"
    sys.stdout.write("[]\n" if start == "[\n" else "\n]\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """A table on standard output. right: the columns of numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    t = Table(*(), title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for c in columns:
        t.add_column(c, justify="right" if c in right else "left", no_wrap=c in right, overflow="fold")
    for row in rows:
        t.add_row(*(text(v) for v in row))
    out().print(t)


def text(value: Any) -> str:
    """A table cell: numbers with thousands' separators or five digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def facts(title: str, values: Mapping[str, Any]) -> None:
    """Names and values, one a line; nested mappings are flattened with dots."""
    from rich.table import Table

    t = Table.grid(padding=(0, 2, 0, 0))
    for name, value in flat(values):
        t.add_row(f"  {name}", text(value))
    console = out()
    console.print(title)
    console.print(t)
    console.print()


def flat(values: Mapping[str, Any], prefix: str = ""):
    """(path, value) of the leaves; lists of plain values become one text."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", ", ".join(text(v) for v in value)
        else:
            yield f"{prefix}{name}", value
