"""Where rows come from: the part of a YAML file that names a user's data.

train: {path: reviews.tsv.gz, columns: {text: document, label: label}}
train: {paths: {source: train.en.gz, target: train.de.gz}}
train: {builtin: dates, split: train}
val:   {path: train.csv, take: {every: 10}}      # every tenth row, and
train: {path: train.csv, drop: {every: 10}}      # all the others
"""

import codecs
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from jorip.core.errors import ConfigError, did_you_mean

FORMATS = ("text", "tsv", "csv", "jsonl", "conllu", "conll", "squad", "parallel")
SUFFIXES = {
    ".txt": "text",
    ".text": "text",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".conllu": "conllu",
    ".conll": "conll",
    ".json": "squad",
}
SPLITS = {
    "dates": ("train", "val", "test", "test_formats"),
    "stdlib": ("train", "val", "test"),
    "listops": ("train", "val", "test"),
    "recall": ("train", "val", "test"),
    "copy": ("train", "val", "test"),
}


class Stride(BaseModel, frozen=True, extra="forbid", strict=True):
    """Records offset, offset + every, offset + 2 every ... of a file; the header does not count, bad records do."""

    every: Annotated[int, Field(ge=1)]
    offset: Annotated[int, Field(ge=0)] = 0

    def has(self, index: int) -> bool:
        return index >= self.offset and (index - self.offset) % self.every == 0


class Source(BaseModel, frozen=True, extra="forbid", strict=True):
    """One file, two line-aligned files, or a built-in data set. A bare string in YAML is a `path`.

    path, paths  relative to the YAML file's folder. `paths` is for line-aligned files: {role: path}.
    builtin      `dates`, `stdlib`, `listops`, `recall` or `copy`, with `split` and `options` (see data/dates.py,
                 data/stdlib.py, data/listops.py, data/recall.py, data/copying.py).
    format       auto = from the ending (.gz aside): .txt .tsv .csv .jsonl .conllu .conll .json
                 (.json is SQuAD's: questions about paragraphs).
    columns      {role: column name, or number from 0}. Default: the column named like the role.
    header       tsv, csv: is the first line a header? auto = yes when columns are asked for by name.
    quoting      None = as usual for the format: csv has quotes, tsv has none (a `"` is a letter there).
    encoding     utf-8 (a BOM is dropped); cp949 for many Korean files of Windows.
    unit         text: a row is a `line`, or the whole `file` (for language models).
    span         text, unit file: the part between these two fractions of its characters, (0.0, 0.9) = the first 90 %.
    take, drop   each n-th record only, or all but those; with the same numbers they are complements.
    limit        at most this many rows, counted after `take` and `drop`.
    bad_rows     how many bad rows are put aside (quarantine.jsonl) before the file is refused: a fraction if below 1,
                 else a number of rows.
    """

    path: str | None = None
    paths: dict[str, str] | None = None
    builtin: Literal["dates", "stdlib", "listops", "recall", "copy"] | None = None
    split: str = "train"
    options: dict[str, Any] = {}
    format: Literal["auto", "text", "tsv", "csv", "jsonl", "conllu", "conll", "squad", "parallel"] = "auto"
    columns: dict[str, str | Annotated[int, Field(ge=0)]] = {}
    header: bool | Literal["auto"] = "auto"
    quoting: bool | None = None
    encoding: str = "utf-8"
    unit: Literal["line", "file"] = "line"
    span: Annotated[tuple[float, float], Field(strict=False)] = (0.0, 1.0)
    take: Stride | None = None
    drop: Stride | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    bad_rows: Annotated[float, Field(ge=0, strict=False)] = 0.01

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value):
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self):
        given = [name for name in ("path", "paths", "builtin") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of path, paths, builtin; found {', '.join(given) or 'none'}")
        if self.builtin and self.split not in SPLITS[self.builtin]:
            known = SPLITS[self.builtin]
            raise ValueError(f"builtin {self.builtin} has no split {self.split!r}{did_you_mean(self.split, known)}")
        if not self.builtin and (self.options or self.split != "train"):
            raise ValueError("split and options belong to a builtin, not to a file")
        if self.paths is not None and len(self.paths) < 2:
            raise ValueError("paths needs at least two line-aligned files {role: path}; use path for one file")
        if self.paths is not None and self.format not in {"auto", "parallel"}:
            raise ValueError(f"paths are line-aligned text files; format {self.format} takes one path")
        if self.path is not None and self.format == "parallel":
            raise ValueError("format parallel needs paths: {source: ..., target: ...}, not path")
        for role in [*self.columns, *(self.paths or {})]:
            if role == "row":
                raise ValueError("a role cannot be called 'row': that is the line number")
        if not 0 <= self.span[0] < self.span[1] <= 1:
            raise ValueError(f"span is two fractions 0 <= start < stop <= 1; found {list(self.span)}")
        if self.span != (0.0, 1.0) and self.unit != "file":
            raise ValueError("span cuts a whole text: it needs unit: file (use take, drop and limit for rows)")
        _check_encoding(self.encoding)
        return self

    @classmethod
    def parse(cls, value: Any, where: str = "data") -> "Source":
        """From YAML; a mistake is a ConfigError that says where."""
        try:
            return cls.model_validate(value)
        except ValidationError as e:
            raise ConfigError(explain(e, where, cls)) from None

    def picks(self, index: int) -> bool:
        """Do `take` and `drop` leave record `index` (from 0)?"""
        return (self.take is None or self.take.has(index)) and not (self.drop and self.drop.has(index))

    @property
    def kind(self) -> str:
        """The format, found from the ending when it is auto."""
        if self.builtin:
            return self.builtin
        if self.paths is not None:
            return "parallel"
        if self.format != "auto":
            return self.format
        name = Path(str(self.path)).name.lower().removesuffix(".gz")
        if (suffix := Path(name).suffix) in SUFFIXES:
            return SUFFIXES[suffix]
        raise ConfigError(
            f"{self.path}: cannot tell the format from the ending {suffix or '(none)'!r}; "
            f"set format: to one of {', '.join(f for f in FORMATS if f != 'parallel')}"
        )


def _check_encoding(name: str) -> None:
    try:
        # a codec that does not make text of bytes (base64, rot13) cannot be an encoding of a file
        if not codecs.lookup(name)._is_text_encoding:
            raise LookupError
    except (LookupError, ValueError):
        known = ("utf-8", "utf-16", "cp949", "euc-kr", "latin-1", "cp1252", "shift_jis", "gb18030", "big5")
        raise ValueError(f"unknown encoding {name!r}{did_you_mean(name, known)}") from None


def explain(e: ValidationError, where: str, model: type[BaseModel]) -> str:
    """One line a mistake: where, what, the value found."""
    return "\n".join(_line(err, where, model) for err in e.errors())


def _line(err, where: str, model: type[BaseModel]) -> str:
    place = ".".join([where, *map(str, err["loc"])])
    if err["type"] == "extra_forbidden":
        fields = Stride.model_fields if len(err["loc"]) > 1 else model.model_fields
        return f"{where}: unknown key {err['loc'][-1]!r}{did_you_mean(str(err['loc'][-1]), fields)}"
    if err["type"] == "value_error":
        return f"{place}: {err['ctx']['error']}"
    return f"{place}: {err['msg']}; found {err['input']!r}"
