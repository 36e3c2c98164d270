"""CoNLL columns: one word a line, its label in another column, a blank line between sentences (CoNLL-2003, WNUT, KLUE).

Columns are separated by tabs where a line has one, else by spaces. Comments (`# `, `## `) and -DOCSTART- lines are no
words, and a word that is only a space (corpora labelled by character have them) is left out with its label.
"""

import re
from collections.abc import Iterable, Iterator

from jorip.core.errors import ConfigError
from jorip.data.files import fault
from jorip.data.records import Record, Wanted
from jorip.data.source import Source

_DEFAULT = {"words": 0, "tags": -1}  # the first and the last column
_NO_WORD = re.compile(r"-DOCSTART-|##|# ")


def read_conll(lines: Iterable[str], source: Source, wanted: Wanted, file: str) -> Iterator[Record]:
    """One record a sentence, each role a list with one entry a word. A bad line spoils its sentence."""
    columns = {role: _index(source.columns.get(role, _DEFAULT.get(role)), role, file) for role in wanted.all}
    start, words, why, text = 0, [], "", ""
    for number, line in enumerate([*lines, "\n"], 1):
        line = line.rstrip("\n")
        if not line.strip():
            if words or why:
                values = None if why else {role: [w[i] for w in words] for role, i in columns.items()}
                yield Record(start, values, why, text or (words[0][0] if words else ""))
            start, words, why, text = 0, [], "", ""
            continue
        if _NO_WORD.match(line):
            continue
        start = start or number
        fields = line.split("\t") if "\t" in line else line.split()
        bad = fault(line, source.encoding)
        needed = max(i + 1 if i >= 0 else max(-i, 2) for i in columns.values())
        if not bad and len(fields) < needed:
            bad = f"{len(fields)} columns instead of at least {needed}"
        if bad and not why:
            why, text = f"line {number}: {bad}" if number != start else bad, line
        elif not bad and fields[0].strip():
            words.append(fields)


def _index(column: str | int | None, role: str, file: str) -> int:
    if isinstance(column, int):
        return column
    raise ConfigError(f"{file}: CoNLL columns have no names: say the number of {role}, columns: {{{role}: 0}}")
