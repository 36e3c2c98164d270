"""The charts of a comparison: quality, time and memory of each variant, and how it learnt."""

from __future__ import annotations

from typing import Any

from jorip.compare.results import Comparison, Row
from jorip.report.charts import FONT

_HEIGHT = 24  # pixels a variant


def overview(found: Comparison) -> dict[str, Any]:
    """Three panels over the same rows: quality with its interval and every seed, training tokens per second, peak
    memory of a step. Variants in the order asked for."""
    import altair as alt

    order = [r.label for r in found.rows]
    split, height = shown(found), _HEIGHT * len(order)
    y = alt.Y("variant:N", sort=order, title=None, axis=alt.Axis(labelLimit=240))
    quiet = alt.Y("variant:N", sort=order, title=None, axis=None)
    rows = [{"variant": r.label, "mean": i.mean, "low": i.low, "high": i.high}
            for r in found.rows if (i := r.quality.get(split))]  # fmt: skip
    seeds = [{"variant": r.label, "value": v} for r in found.rows for v in scores(r, split, found.metric)]
    scale = span([s["value"] for s in seeds] + [r[k] for r in rows for k in ("low", "high")])
    title = f"{found.metric.replace('_', ' ')} on {split}, mean and 95 % interval"
    value, mean, low = (alt.X(f"{name}:Q", title=title, scale=scale) for name in ("value", "mean", "low"))
    means = alt.Chart(alt.Data(values=rows))
    quality = alt.layer(
        alt.Chart(alt.Data(values=seeds)).mark_point(opacity=0.6, size=30).encode(x=value, y=y),
        means.mark_rule(strokeWidth=2).encode(x=low, x2="high:Q", y=y),
        means.mark_tick(thickness=3, size=16, color="#1d2329").encode(x=mean, y=y),
    ).properties(width=300, height=height)
    panels: list[Any] = [quality]
    for values, name, form in (
        (bars(found.rows, "tokens_per_second", 1), "training tokens per second", "~s"),
        (bars(found.rows, "peak_bytes", 2**-20), "peak memory of a step, MiB", "~r"),
    ):
        if values:
            bar = alt.Chart(alt.Data(values=values)).mark_bar(color="#2f6fb0").encode(
                x=alt.X("value:Q", title=name, axis=alt.Axis(format=form, tickCount=5)), y=quiet
            )  # fmt: skip
            panels.append(bar.properties(width=190, height=height))
    return _finished(alt.hconcat(*panels, title=f"{found.plan.recipe}: {found.plan.budget} a run, {seed_text(found)}"))


def trade(found: Comparison) -> dict[str, Any]:
    """Quality against speed; the larger the circle, the more memory a step takes."""
    import altair as alt

    split, order = shown(found), [r.label for r in found.rows]
    values = [
        {"variant": r.label, "quality": r.quality[split].mean, "speed": r.tokens_per_second.mean,
         "memory": None if r.peak_bytes is None else r.peak_bytes.mean / 2**20}
        for r in found.rows if split in r.quality and r.tokens_per_second
    ]  # fmt: skip
    title = f"{found.metric.replace('_', ' ')} on {split}"
    base = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X("speed:Q", title="training tokens per second", scale=alt.Scale(zero=False, padding=40)),
        y=alt.Y("quality:Q", title=title, scale=span([v["quality"] for v in values])),
    )  # fmt: skip
    circles = base.mark_circle(opacity=0.6).encode(
        size=alt.Size("memory:Q", title="peak memory, MiB", scale=alt.Scale(range=[40, 1200])),
        color=alt.Color("variant:N", sort=order, legend=None, scale=alt.Scale(scheme="tableau10")),
    )
    names = base.mark_text(dy=-16).encode(text="variant:N")
    return _finished(alt.layer(circles, names).properties(width=560, height=320, title="quality, time and memory"))


def learning(found: Comparison) -> dict[str, Any]:
    """The chosen metric on validation over training time, means over the seeds."""
    import altair as alt

    values, order = [], [r.label for r in found.rows]
    for row in found.rows:
        done = [r for r in row.runs if "failed" not in r]
        for step in sorted({s for r in done for s, _ in r["curve"]}):
            at = [
                (m[found.metric], r["training_seconds"] * s / max(r["steps"], 1) / 60)
                for r in done
                for s, m in r["curve"]
                if s == step and isinstance(m.get(found.metric), int | float)
            ]
            if at:
                value, minutes = (sum(x) / len(at) for x in zip(*at))
                values.append({"variant": row.label, "minutes": minutes, "value": value})
    chart = alt.Chart(alt.Data(values=values)).mark_line(point=True).encode(
        x=alt.X("minutes:Q", title="minutes of training (evaluation not counted)"),
        y=alt.Y("value:Q", title=f"{found.metric.replace('_', ' ')} on validation", scale=alt.Scale(zero=False)),
        color=alt.Color("variant:N", sort=order, title=None, scale=alt.Scale(scheme="tableau10")),
    )  # fmt: skip
    return _finished(chart.properties(width=560, height=320, title="learning"))


def shown(found: Comparison) -> str:
    """The split that pictures show: the first test set, where there is one."""
    return [*found.splits, "validation"][1 if len(found.splits) > 1 else 0]


def span(values: list[float]) -> Any:
    """An axis as the values ask, with some room around them."""
    import altair as alt

    low, high = min(values, default=0.0), max(values, default=0.0)
    room = (high - low) / 8 or abs(low) / 4 or 1.0
    return alt.Scale(domain=[low - room, high + room], nice=False)


def scores(row: Row, split: str, metric: str) -> list[float]:
    """Of each seed."""
    done = [r for r in row.runs if "failed" not in r]
    found = [(r["validation"] if split == "validation" else r["test"][split]).get(metric) for r in done]
    return [v for v in found if isinstance(v, int | float)]


def bars(rows: list[Row], name: str, scale: float) -> list[dict[str, Any]]:
    return [{"variant": r.label, "value": i.mean * scale} for r in rows if (i := getattr(r, name))]


def seed_text(found: Comparison) -> str:
    n = len(found.plan.seeds)
    return f"{n} seed{'s' * (n > 1)}"


def _finished(chart) -> dict[str, Any]:
    return chart.configure(font=FONT, background="white").configure_view(strokeWidth=0).to_dict()
