"""A model's cost over lengths: operations, memory and decoding state, where attention overtakes the feed-forward, and
where it overtakes full attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jorip.core.errors import ConfigError

GROUPS = {"mixer": "attention", "cross": "attention", "feed_forward": "feed-forward"}


def lengths(text: str) -> list[int]:
    """ "512" -> [512]; "512:65536" -> 512, 1024 .. 65536. Raises ConfigError for anything else."""
    first, colon, last = text.partition(":")
    if not all(t.isdecimal() and int(t) > 0 for t in ((first, last) if colon else (first,))):
        raise ConfigError(f"--length is a number of tokens or FROM:TO, such as 512:65536, found {text!r}")
    if not colon:
        return [int(first)]
    if int(first) >= int(last):
        raise ConfigError(f"--length FROM:TO needs TO above FROM, found {text!r}")
    found = [int(first)]
    while 2 * found[-1] < int(last):
        found.append(2 * found[-1])
    return [*found, int(last)]


def grouped(spec, shape) -> dict[str, int]:
    """FLOPs of one forward pass by kind of part."""
    flops = {"attention": 0, "feed-forward": 0, "other": 0}
    for path, cost in spec.costs(shape).items():
        flops[GROUPS.get(path.rpartition(".")[2], "other")] += cost.flops
    return flops


def with_full_attention(spec):
    """The same spec with full attention wherever another mechanism is; None where there is none other."""
    from jorip.core.spec import flatten
    from jorip.parts.attention.full import Full

    kinds = {kind for path, kind in flatten(spec).items() if path.rpartition(".")[2] == "mechanism"}
    return spec.override({"**.mechanism": Full()}) if kinds - {"full"} else None


def curve(spec, found: list[int], batch: int, memory: int | None, width: int) -> list[dict[str, Any]]:
    """One row per length; bytes of elements of `width`."""
    from jorip.core.cost import Shape

    full, rows = with_full_attention(spec), []
    for length in found:
        shape = Shape(batch, length, memory or 0)
        tree = spec.cost(shape)
        bytes_ = tree.memory(width)
        flops = grouped(spec, shape)
        row: dict[str, Any] = {"length": length, "flops": tree.total.flops}
        row |= {f"{name.replace('-', '_')}_flops": n for name, n in flops.items()}
        if full is not None:
            row["full_attention_flops"] = grouped(full, shape)["attention"]
        rows.append(row | {
            "activation_bytes": bytes_.activations, "state_bytes": bytes_.state,
            "peak_inference_bytes": bytes_.inference, "peak_training_bytes": bytes_.training,
            "sequential": tree.total.sequential, "path_length": tree.path,
        })  # fmt: skip
    return rows


def crossings(spec, rows: list[dict[str, Any]], batch: int, memory: int | None) -> list[dict[str, Any]]:
    """Between two lengths of the curve where the larger of two changes: the first length of the new order, exactly."""
    from jorip.core.cost import Shape

    full = with_full_attention(spec)

    def ahead(what: str, length: int) -> bool:
        shape = Shape(batch, length, memory or 0)
        own = grouped(spec, shape)
        if what == "feed-forward":
            return own["attention"] >= own["feed-forward"]
        return own["attention"] < grouped(full, shape)["attention"]

    found = []
    for what in ("feed-forward", *(("full attention",) if full is not None else ())):
        if what == "feed-forward" and not any(r["feed_forward_flops"] for r in rows):
            continue
        for low, high in zip([r["length"] for r in rows], [r["length"] for r in rows[1:]], strict=False):
            if ahead(what, low) == (after := ahead(what, high)):
                continue
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if ahead(what, middle) == after else (middle, high)
            words = {
                ("feed-forward", True): "attention costs as much as the feed-forward, from here on more",
                ("feed-forward", False): "the feed-forward costs more than attention again",
                ("full attention", True): "costs less than full attention from here on",
                ("full attention", False): "costs as much as full attention again",
            }
            found.append({"length": high, "against": what, "meaning": words[what, after]})
    return found


def draw(title: str, rows: list[dict[str, Any]], found: list[dict[str, Any]], out: Path) -> None:
    """Two charts side by side with logarithmic axes, crossings as dashed lines, as .svg or .png. Raises ConfigError."""
    import vl_convert

    if out.suffix.lower() not in (".svg", ".png"):
        raise ConfigError(f"--out is a picture, so it ends in .svg or .png, found {str(out)!r}")
    chart = charts(title, rows, found)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == ".svg":
        out.write_text(vl_convert.vegalite_to_svg(chart, allowed_base_urls=[]), encoding="utf-8")
    else:
        out.write_bytes(vl_convert.vegalite_to_png(chart, scale=2, allowed_base_urls=[]))


def charts(title: str, rows: list[dict[str, Any]], found: list[dict[str, Any]]) -> dict[str, Any]:
    """Vega-Lite."""
    import altair as alt

    from jorip.report.charts import COLOURS, FONT

    flops = {"attention_flops": "attention", "feed_forward_flops": "feed-forward", "other_flops": "the rest",
             "full_attention_flops": "attention, if full"}  # fmt: skip
    memory = {"peak_training_bytes": "training, at most", "activation_bytes": "activations",
              "peak_inference_bytes": "inference, at most", "state_bytes": "decoding state"}  # fmt: skip
    panes = []
    for name, unit, series in (("operations of a forward pass", "FLOPs", flops), ("memory", "bytes", memory)):
        points = [
            {"length": r["length"], "value": r[key], "series": word}
            for key, word in series.items() for r in rows if r.get(key)
        ]  # fmt: skip
        shown = [w for w in series.values() if any(p["series"] == w for p in points)]
        powers, ticks = alt.Scale(type="log", base=2, nice=False), [r["length"] for r in rows]
        x = alt.X("length:Q", title="tokens", scale=powers, axis=alt.Axis(values=ticks, format=",d", labelAngle=-30))
        y = alt.Y("value:Q", title=unit, scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", tickCount=6))
        colour = alt.Color(
            "series:N", title=None, sort=shown, scale=alt.Scale(domain=shown, range=COLOURS),
            legend=alt.Legend(orient="bottom", columns=2),
        )  # fmt: skip
        lines = alt.Chart(alt.Data(values=points), title=name, width=380, height=280).mark_line(point=True)
        layers = [lines.encode(x=x, y=y, color=colour)]
        if unit == "FLOPs" and found:
            marks = alt.Chart(alt.Data(values=[{"length": f["length"], "label": str(f["length"])} for f in found]))
            layers.append(marks.mark_rule(strokeDash=[4, 3], color="#555").encode(x="length:Q"))
            layers.append(marks.mark_text(align="left", dx=4, dy=8, baseline="top").encode(
                x="length:Q", y=alt.value(0), text="label:N"))  # fmt: skip
        panes.append(alt.layer(*layers))
    whole = alt.hconcat(*panes, title=title).resolve_scale(color="independent")
    return whole.configure(font=FONT, background="white").configure_view(strokeWidth=0).to_dict()
