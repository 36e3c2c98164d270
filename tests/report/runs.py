"""Small run folders, written by hand."""

import json
import math
from pathlib import Path
from typing import Any

SOURCE, TARGET = "ko en-US: 3/4/2026", "2026년 3월 4일"


def alignment(source: str = SOURCE, output: str = TARGET) -> dict[str, Any]:
    """A sample with a map that goes backwards, tokens being characters."""
    s, o = [*source, "<eos>"], [*output, "<eos>"]
    raw = [[math.exp(-abs(j - (len(s) - 1 - i))) for j in range(len(s))] for i in range(len(o))]
    weights = [[w / sum(row) for w in row] for row in raw]
    return {"alignment": weights, "source_tokens": s, "prediction_tokens": o}


def events(steps: int = 100) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for step in range(10, steps + 1, 10):
        loss = 3 * math.exp(-step / 40)
        made.append({"kind": "train", "step": step, "epoch": step / 50, "loss": loss, "lr": 1e-3, "grad_norm": 1.0,
                     "tokens": step * 100, "seconds": step / 10, "tokens_per_second": 1000.0 + step})  # fmt: skip
        if step % 50 == 0:
            metrics = {"loss": loss + 0.1, "exact_match": step / steps}
            made.append({"kind": "evaluation", "step": step, "metrics": metrics, "best": True})
            first = {"source": SOURCE, "target": TARGET, "prediction": TARGET} | alignment()
            second = {"source": "<script>alert(1)</script>", "target": "a & b", "prediction": "a"}
            made.append({"kind": "samples", "step": step, "samples": [first, second]})
    made.append({"kind": "end", "reason": "steps", "step": steps, "epoch": 2.0, "tokens": 10000, "seconds": 10.0})
    return made


def write_run(folder: Path, lines: list[dict[str, Any]] | None = None, facts: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    facts = facts or {
        "config": {"seed": 0, "steps": 100},
        "recipe": {"task": "translate", "evaluation": {"metric": "exact_match"}},
        "versions": {"jorip": "0.1.0"},
    }
    (folder / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    text = "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in (events() if lines is None else lines))
    (folder / "events.jsonl").write_text(text, encoding="utf-8")
    return folder
