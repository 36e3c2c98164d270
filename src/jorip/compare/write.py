"""results.json, the charts as PNG and SVG, and one page that needs no network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jorip.compare.charts import learning, overview, seed_text, trade
from jorip.compare.results import RESULTS, Comparison
from jorip.report.draw import png, svg
from jorip.report.page import Page
from jorip.training.atomic import replace_json
from jorip.training.events import plain

PAGE = "report.html"
COLUMNS = ("variant", "parameters", "steps", "tokens/s", "peak MiB", "state KiB", "kFLOPs/token", "minutes")


def write(found: Comparison) -> list[Path]:
    """Into the comparison's folder; the files."""
    folder = found.folder
    replace_json(folder / RESULTS, plain(found.as_dict()))
    made = {"chart": overview(found), "trade": trade(found), "learning": learning(found)} if found.splits else {}
    drawings = {}
    for name, chart in made.items():
        drawings[name] = svg(chart, name)
        png(chart, folder / f"{name}.png")
        (folder / f"{name}.svg").write_text(alone(chart), encoding="utf-8")
    (folder / PAGE).write_text(page(found, drawings), encoding="utf-8")
    return [folder / RESULTS, folder / PAGE, *(folder / f"{n}{end}" for n in made for end in (".png", ".svg"))]


def alone(chart: dict[str, Any]) -> str:
    """The drawing as a file of its own."""
    import vl_convert

    return vl_convert.vegalite_to_svg(chart, allowed_base_urls=[])


def header(found: Comparison) -> list[str]:
    """Column names: the quality on each split after the variant."""
    name = found.metric.replace("_", " ")
    return [COLUMNS[0], *(f"{name}, {s}" for s in found.splits), *COLUMNS[1:]]


def cells(found: Comparison) -> list[list[Any]]:
    """A row a variant. None where there is nothing to say."""
    rows = []
    for r in found.rows:
        quality = [r.quality[s].text() if s in r.quality else "failed" if r.failed else None for s in found.splits]
        rows.append([
            r.label, *quality, r.parameters, r.steps,
            r.tokens_per_second and round(r.tokens_per_second.mean),
            r.peak_bytes and round(r.peak_bytes.mean / 2**20, 1),
            None if r.state_bytes is None else round(r.state_bytes / 2**10, 1),
            round(r.flops_per_token / 1e3, 1),
            r.training_minutes and float(f"{r.training_minutes.mean:.3g}"),
        ])  # fmt: skip
    return rows


def conditions(found: Comparison) -> dict[str, str]:
    """What was the same for all, in a line each."""
    config = found.plan.variants[0].config
    training = config["training"]
    optimizer, schedule = training["optimizer"], training["schedule"]
    return {
        "budget of each run": found.plan.budget,
        "seeds": ", ".join(map(str, found.plan.seeds)),
        "data and batches": f"the same: {config['data']['tokens']:,} tokens a step ({config['tokenizer']['kind']})",
        "optimizer": f"AdamW, lr {optimizer['lr']:g}, {schedule['kind']}, warm-up {schedule['warmup']}",
        "arithmetic": f"{training['precision']}, {training['threads']} threads",
        "what differs": ", ".join(highest(found.plan.differs)),
    }


def highest(paths: Iterable[str]) -> list[str]:
    """Those that do not lie below another."""
    paths = list(paths)
    return [p for p in paths if not any(p.startswith(f"{other}.") for other in paths)]


def page(found: Comparison, drawings: dict[str, str]) -> str:
    """The page's text."""
    title = f"{found.plan.recipe}: {len(found.rows)} variants"
    made = Page(title, f"jorip compare · {found.plan.budget} a run · {seed_text(found)} · {hardware(found)}")
    for note in found.notes:
        made.note(f"Note: {note}")
    made.section("Results · 결과")
    made.table(header(found), cells(found))
    made.note(
        "Quality: mean over the seeds and 95 % interval (Student's t), of the checkpoint that was best on validation. "
        "Tokens per second: of training steps, evaluation and saving excluded. Peak: what the process grows by in a "
        "forward and backward pass of the largest batch. State: of decoding one sequence of the longest length, where "
        "the model is causal. FLOPs: of a forward pass, by the cost model."
    )
    made.figures(drawings.values())
    made.section("Conditions · 조건")
    made.table(("", ""), conditions(found).items())
    made.section("What differs · 차이")
    made.table(
        ("field", *(r.label for r in found.rows)), [[path, *values] for path, values in found.plan.differs.items()]
    )
    if found.reproduction is not None:
        made.section("Repeated · 재현")
        made.note(reproduced(found.reproduction))
    made.section("Runs · 실행")
    made.table(
        ("variant", "seed", *found.splits, "best step", "steps", "minutes"),
        [[r.label, str(m["seed"]), *run_scores(found, m), m.get("best_step"), m.get("steps"),
          m["training_seconds"] / 60 if "training_seconds" in m else m.get("failed")]
         for r in found.rows for m in r.runs],
    )  # fmt: skip
    for v in found.plan.variants:
        made.details(v.label, _yaml(v.config))
    made.details("versions and machine", _yaml({"versions": found.plan.versions, "hardware": found.plan.hardware}))
    return made.html()


def run_scores(found: Comparison, run: dict[str, Any]) -> list[Any]:
    if "failed" in run:
        return [None] * len(found.splits)
    return [(run["validation"] if s == "validation" else run["test"][s]).get(found.metric) for s in found.splits]


def reproduced(facts: dict[str, Any]) -> str:
    """In a sentence."""
    if not facts["numbers"]:
        return "The original has no scores of these runs."
    if facts["same"] == facts["numbers"]:
        return f"All {facts['numbers']} scores are the same as in the original."
    return (
        f"{facts['same']} of {facts['numbers']} scores are the same as in the original; the largest difference is "
        f"{facts['largest_difference']:.3g} ({facts['where']})."
    )


def hardware(found: Comparison) -> str:
    h = found.plan.hardware
    return f"{h.get('cpu', '')}, {h.get('cores', '?')} cores"


def _yaml(value: Any) -> str:
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
