"""Rows that cannot be used are put aside with their reason, counted, and refused when they are many."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from jorip.core.errors import DataError
from jorip.data.files import printable

ASIDE = "quarantine.jsonl"  # in a run's folder
_KEPT = 10_000  # entries in memory and on disk; beyond, only the count goes on


@dataclass(frozen=True)
class BadRow:
    """`line` counts from 1 in `file`; `text` is what was there, at most 200 characters."""

    file: str
    line: int
    why: str
    text: str


class Quarantine:
    """Collects bad rows over all files of a run. With `path`, they are on disk even when the data are refused."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.rows: list[BadRow] = []
        self.counts: Counter[str] = Counter()

    def add(self, file: str, line: int, why: str, text: str, count: int = 1) -> None:
        """`count`: lines that are lost with this one (a quote that never closes)."""
        self.counts[file] += count
        if len(self.rows) < _KEPT:
            self.rows.append(BadRow(file, line, printable(why), printable(text)))

    def check(self, file: str, bad: int, read: int, limit: float = 0.01) -> None:
        """DataError when more than `limit` of the rows are bad: a fraction of `read` if below 1, else a number."""
        if bad == 0 or bad <= (limit * read if limit < 1 else limit):
            return
        self.write()
        first = [f"  line {r.line}: {r.why}: {r.text[:80]!r}" for r in self.rows if r.file == file][:3]
        allowed = f"{limit:.3g}" if limit >= 1 else f"{limit:.3%}".replace(".000%", "%")
        raise DataError(
            f"{file}: {bad} of {read} rows are bad, {allowed} allowed; the first:\n"
            + "\n".join(first)
            + "\nCorrect the file, or how it is read (format, columns, quoting, encoding), or allow more with bad_rows:"
        )

    def write(self, path: Path | None = None) -> None:
        """JSON lines {file, line, why, text}; nothing is written when nothing is bad."""
        path = path or self.path
        if path is None or not self.rows:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as f:
            for row in self.rows:
                f.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
            if (more := sum(self.counts.values()) - len(self.rows)) > 0:
                f.write(json.dumps({"file": "", "line": 0, "why": f"{more} more lost lines", "text": ""}) + "\n")

    @property
    def total(self) -> int:
        return sum(self.counts.values())
