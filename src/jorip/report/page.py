"""The HTML page. Everything it shows is in the file: styles, drawings, texts; its policy forbids any request."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ --line: #d8dce2; --soft: #5b6470; }}
body {{ font: 15px/1.5 system-ui, 'Noto Sans CJK KR', 'Noto Sans KR', NanumGothic, 'Malgun Gothic',
  'Apple SD Gothic Neo', sans-serif; color: #1d2329; max-width: 1000px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; margin: 0; }} h2 {{ font-size: 1.15rem; margin: 2.2rem 0 .6rem;
  border-bottom: 1px solid var(--line); }}
.soft {{ color: var(--soft); }}
.tiles {{ display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }}
.tile {{ border: 1px solid var(--line); border-radius: 6px; padding: .4rem .8rem; }}
.tile b {{ display: block; font-size: 1.15rem; }}
.charts {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
figure {{ margin: 0; max-width: 100%; overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }}
th.n, td.n {{ text-align: right; }} td.n {{ white-space: nowrap; font-variant-numeric: tabular-nums; }}
td.same {{ color: #2c7a3f; }} td.other {{ color: #b3341f; }}
pre {{ background: #f5f6f8; padding: .8rem; overflow-x: auto; font-size: 13px; }}
details {{ margin: .5rem 0; }} summary {{ cursor: pointer; }}
</style>
</head>
<body>
"""


class Page:
    """Parts of a page, in order. Every text is escaped; `figures` takes drawings that `draw.svg` made."""

    def __init__(self, title: str, line: str) -> None:
        self.parts = [
            _HEAD.format(title=escape(title)),
            f"<h1>{escape(title)}</h1>\n<p class=soft>{escape(line)}</p>\n",
        ]

    def section(self, title: str) -> None:
        self.parts.append(f"<h2>{escape(title)}</h2>\n")

    def note(self, text: str) -> None:
        self.parts.append(f"<p class=soft>{escape(text)}</p>\n")

    def tiles(self, values: Mapping[str, str]) -> None:
        """Names and large values."""
        inner = "".join(
            f"<div class=tile><span class=soft>{escape(k)}</span><b>{escape(v)}</b></div>" for k, v in values.items()
        )
        self.parts.append(f"<div class=tiles>{inner}</div>\n")

    def figures(self, drawings: Iterable[str]) -> None:
        self.parts.append(f"<div class=charts>{''.join(f'<figure>{d}</figure>' for d in drawings)}</div>\n")

    def table(self, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
        """Columns of numbers stand on the right."""
        rows = [list(row) for row in rows]
        marks = [" class=n" if any(is_number(row[i]) for row in rows) else "" for i in range(len(columns))]
        head = "".join(f"<th{m}>{escape(c)}</th>" for c, m in zip(columns, marks))
        body = "".join(f"<tr>{''.join(_cell(v) for v in row)}</tr>\n" for row in rows)
        self.parts.append(f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>\n")

    def samples(self, samples: Iterable[Mapping[str, Any]]) -> None:
        """Source, target and prediction; a prediction that equals its target is green, another red."""
        rows = []
        for s in samples:
            source, target, made = (_text(s.get(k)) for k in ("source", "target", "prediction"))
            mark = "" if not target else " class=same" if target == made else " class=other"
            rows.append(f"<tr><td>{escape(source)}</td><td>{escape(target)}</td><td{mark}>{escape(made)}</td></tr>\n")
        self.parts.append(
            "<table><thead><tr><th>source</th><th>target</th><th>prediction</th></tr></thead>\n"
            f"<tbody>{''.join(rows)}</tbody></table>\n"
        )

    def details(self, summary: str, text: str) -> None:
        """A text to be opened."""
        self.parts.append(f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>\n")

    def html(self) -> str:
        return "".join(self.parts) + "</body>\n</html>\n"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _cell(value: Any) -> str:
    if is_number(value):
        return f"<td class=n>{number(value)}</td>"
    return f"<td>{escape(_text(value))}</td>"


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: float) -> str:
    """Thousands' separators for counts, five digits for the rest."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}"
