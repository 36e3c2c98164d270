"""`write_report`: puts history, charts and page together."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jorip.core.errors import ConfigError
from jorip.report.charts import alignment, curves
from jorip.report.draw import draws_hangul, has_hangul, png, svg
from jorip.report.history import History, parameters, read_history
from jorip.report.page import Page, number
from jorip.report.scores import read_scores

NO_FONT = (
    "no font with Hangul was found, so PNGs show empty boxes in its place; the page itself uses the browser's fonts. "
    "Install one (Debian: fonts-nanum or fonts-noto-cjk) and write the report again"
)

_TRAINING = {"lr": "learning rate", "grad_norm": "gradient norm", "tokens_per_second": "tokens per second"}


@dataclass
class Written:
    """What was written, and what the user should know about it."""

    html: Path
    pngs: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write_report(folder: Path, out: Path | None = None) -> Written:
    """One HTML file (default FOLDER/report.html) and, in a folder of the same name without .html, a PNG per chart.

    Raises DataError (no run, damaged events), ConfigError (out is no .html file).
    """
    out = folder / "report.html" if out is None else out
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out is the page, so it ends in .html, found {str(out)!r}")
    history = read_history(folder)
    written = Written(out)
    charts = {**run_charts(history), **alignments(history)}
    pictures = out.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    drawings = {}
    for name, chart in charts.items():
        drawings[name] = svg(chart, name)
        png(chart, pictures / f"{name}.png")
        written.pngs.append(pictures / f"{name}.png")
    if any(map(has_hangul, drawings.values())) and not draws_hangul():
        written.notes.append(NO_FONT)
    if not history.train:
        written.notes.append("the run has no log lines yet (training.log_every): there are no training curves")
    out.write_text(build(history, drawings, written.notes), encoding="utf-8")
    return written


def run_charts(history: History) -> dict[str, dict[str, Any]]:
    """loss, each further metric, learning rate, gradient norm and throughput: those that have values."""
    pairs = {"training": history.curve("train", "loss"), "validation": history.curve("evaluation", "loss")}
    made = {}
    if loss := {name: line for name, line in pairs.items() if line}:
        made["loss"] = curves("loss", loss)
    for metric in history.metrics:
        if metric != "loss" and (line := history.curve("evaluation", metric)):
            made[f"metric-{metric.replace('_', '-')}"] = curves(metric.replace("_", " "), {"validation": line}, True)
    for name, title in _TRAINING.items():
        if line := history.curve("train", name):
            made[title.replace(" ", "-")] = curves(title, {"training": line})
    return made


def alignments(history: History) -> dict[str, dict[str, Any]]:
    """The attention maps of the last samples that have one."""
    last = history.samples[-1]["samples"] if history.samples else []
    maps = [s for s in last if s.get("alignment") and s.get("source_tokens") and s.get("prediction_tokens")]
    return {
        f"alignment-{i}": alignment(
            shorten(s["prediction"]), s["alignment"], s["source_tokens"], s["prediction_tokens"]
        )
        for i, s in enumerate(maps, 1)
    }


def shorten(text: str, limit: int = 60) -> str:
    """One line for a title."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def build(history: History, drawings: dict[str, str], notes: list[str]) -> str:
    """The page's text."""
    facts, recipe = history.facts, history.recipe
    page = Page(history.name, f"{recipe.get('task', 'a run')} · jorip {facts.get('versions', {}).get('jorip', '')}")
    page.tiles(_tiles(history))
    for note in notes:
        page.note(note)
    if scores := read_scores(history.folder):
        page.section("Scores · 평가")
        names = dict.fromkeys(n for m in scores.values() for n in m)
        page.table(["", *scores], [[n.replace("_", " "), *(m.get(n) for m in scores.values())] for n in names])
    page.section("Curves · 학습 곡선")
    page.figures(d for name, d in drawings.items() if not name.startswith("alignment"))
    if history.samples:
        page.section(f"Samples · 예시 (step {history.samples[-1]['step']})")
        page.samples(history.samples[-1]["samples"])
    if maps := [d for name, d in drawings.items() if name.startswith("alignment")]:
        page.section("Alignment · 정렬")
        page.note("Cross-attention: rows are the tokens written, columns the tokens read; darker is more.")
        page.figures(maps)
    page.section("Run · 설정")
    for name in ("config", "recipe", "measured", "hardware", "versions"):
        if facts.get(name):
            page.details({"config": "training", "recipe": "task, data, model"}.get(name, name), _yaml(facts[name]))
    return page.html()


def _tiles(history: History) -> dict[str, str]:
    last = history.end or (history.train or history.evaluations or [{}])[-1]
    tiles = {"state": f"finished ({history.end['reason']})" if history.end else "not finished"}
    if best := history.best:
        chosen = (history.recipe.get("evaluation") or {}).get("metric", "loss")
        value = best["metrics"].get(chosen)
        tiles[f"best validation {chosen.replace('_', ' ')}"] = (
            number(value) if isinstance(value, int | float) else str(value)
        )
        tiles["at step"] = number(best["step"])
    for name, title in (("step", "steps"), ("epoch", "epochs"), ("tokens", "tokens")):
        if name in last:
            tiles[title] = number(last[name])
    if (n := parameters(history.folder)) is not None:
        tiles["parameters"] = number(n)
    if "seconds" in last and isinstance(last["seconds"], int | float):
        tiles["time"] = f"{last['seconds'] / 60:.1f} min"
    return tiles


def _yaml(value: Any) -> str:
    import yaml

    return yaml.safe_dump(json.loads(json.dumps(value)), sort_keys=False, allow_unicode=True)
