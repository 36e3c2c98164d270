"""Vega-Lite charts, made with altair: curves over steps, attention as a map. One chart serves page and PNG."""

import json
import unicodedata
from typing import Any

FONT = "'Noto Sans CJK KR', 'Noto Sans KR', NanumGothic, 'Malgun Gothic', 'Apple SD Gothic Neo', sans-serif"
COLOURS = ["#2f6fb0", "#d9730d", "#3d8b53", "#8a4fae"]
LONGEST = 60  # tokens on a side of an attention map; longer ones are cut, and the title says so
_VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥"}

Curves = dict[str, list[tuple[int, float]]]


def curves(title: str, series: Curves, points: bool = False) -> dict[str, Any]:
    """Lines over steps, one colour each. points: mark the values, where there are few."""
    import altair as alt

    rows = [{"step": s, "value": v, "series": name} for name, line in series.items() for s, v in line]
    chart = (
        alt.Chart(alt.Data(values=rows), title=title, width=400, height=220)
        .mark_line(point=points or max(map(len, series.values()), default=0) < 30)
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(format="~s", tickCount=6)),
            y=alt.Y("value:Q", title=None, scale=_span([v for line in series.values() for _, v in line])),
            color=alt.Color(
                "series:N",
                sort=list(series),
                scale=alt.Scale(domain=list(series), range=COLOURS),
                legend=alt.Legend(title=None, orient="top-right") if len(series) > 1 else None,
            ),
        )
    )
    return _finished(chart)


def _span(values: list[float]):
    """The axis: as the values ask, and some room around when they are all the same."""
    import altair as alt

    low, high = min(values, default=0.0), max(values, default=0.0)
    if high > low:
        return alt.Scale(zero=False)
    room = abs(low) / 2 or 1.0
    return alt.Scale(domain=[low - room, high + room])


def alignment(title: str, weights: list[list[float]], sources: list[str], outputs: list[str]) -> dict[str, Any]:
    """A heat map: a row per token written, a column per token read; weights (outputs, sources), each row sums to 1."""
    import altair as alt

    shown_o, shown_s = outputs[:LONGEST], sources[:LONGEST]
    if len(shown_o) < len(outputs) or len(shown_s) < len(sources):
        title += f"  (first {len(shown_o)} x {len(shown_s)} of {len(outputs)} x {len(sources)} tokens)"
    rows = [
        {"o": i, "s": j, "weight": w} for i, row in enumerate(weights[:LONGEST]) for j, w in enumerate(row[:LONGEST])
    ]
    white_to_blue = alt.Scale(range=["#ffffff", "#1f5c99"], domain=[0, 1], interpolate="rgb")
    narrow = all(width(visible(t)) <= 3 for t in shown_s)
    chart = (
        alt.Chart(alt.Data(values=rows), title=title, width=alt.Step(18), height=alt.Step(18))
        .mark_rect()
        .encode(
            x=alt.X("s:O", title=None, axis=_labels(shown_s, orient="top", angle=0 if narrow else -90)),
            y=alt.Y("o:O", title=None, axis=_labels(shown_o, angle=0)),
            color=alt.Color("weight:Q", scale=white_to_blue, legend=None),
        )
    )
    return _finished(chart)


def _labels(tokens: list[str], angle: int, **more: Any):
    """Axis labels by index, since tokens repeat. The list is in the expression as JSON, which Vega reads as data."""
    import altair as alt

    words = json.dumps([visible(t) for t in tokens])
    return alt.Axis(labelExpr=f"{words}[datum.value]", labelAngle=angle, labelOverlap=False, labelLimit=140, **more)


def visible(token: str) -> str:
    """The token with spaces and line ends that can be seen, without control characters, `<eos>` as eos."""
    if token.isascii() and token[:1] == "<" and token[-1:] == ">" and token[1:-1].isalpha():
        return token[1:-1]
    return "".join(_VISIBLE.get(c, c) if c.isprintable() or c in _VISIBLE else "·" for c in token)


def width(text: str) -> int:
    """Columns of a fixed-width font: Hangul and its like take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _finished(chart) -> dict[str, Any]:
    return chart.configure(font=FONT, background="white").configure_view(strokeWidth=0).to_dict()
