"""CoNLL-U: sentences of words with ten columns (https://universaldependencies.org/format.html)."""

import re
from collections.abc import Iterable, Iterator

from jorip.core.errors import ConfigError, did_you_mean
from jorip.data.files import fault
from jorip.data.records import Record, Wanted
from jorip.data.source import Source

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_DEFAULT = {"words": "form", "tags": "upos"}
_SKIPPED = re.compile(r"[0-9]+[-.][0-9]+")  # 1-2: a token of several words; 1.1: an empty node. Neither is a word


def read_conllu(lines: Iterable[str], source: Source, wanted: Wanted, file: str) -> Iterator[Record]:
    """One record a sentence, each role a list with one entry a word. A bad line spoils its sentence."""
    columns = {role: _index(source.columns.get(role, _DEFAULT.get(role, role)), role, file) for role in wanted.all}
    start, words, why, text = 0, [], "", ""
    for number, line in enumerate(_ended(lines), 1):
        line = line.rstrip("\n")
        if not line.strip(" "):
            if words or why:
                values = None if why else {role: [w[i] for w in words] for role, i in columns.items()}
                yield Record(start, values, why, text or (words[0][1] if words else ""))
            start, words, why, text = 0, [], "", ""
            continue
        if line.startswith("#"):
            if not why and (bad := fault(line, source.encoding)):
                start, why, text = start or number, bad, line
            continue
        start = start or number
        fields = line.split("\t")
        bad = fault(line, source.encoding) or ("" if len(fields) == 10 else f"{len(fields)} columns instead of 10")
        if bad and not why:
            why, text = f"line {number}: {bad}" if number != start else bad, line
        elif not bad and not _SKIPPED.fullmatch(fields[0]):
            words.append(fields)


def _ended(lines: Iterable[str]) -> Iterator[str]:
    """The last sentence counts even where the final blank line is missing."""
    yield from lines
    yield "\n"


def _index(column: str | int, role: str, file: str) -> int:
    if isinstance(column, int):
        if column < 10:
            return column
        raise ConfigError(f"{file}: columns.{role} is {column}; CoNLL-U has columns 0 to 9")
    if column.lower() in COLUMNS:
        return COLUMNS.index(column.lower())
    raise ConfigError(f"{file}: CoNLL-U has no column {column!r} (for {role}){did_you_mean(column, COLUMNS)}")
