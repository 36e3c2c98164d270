"""The dates task with other mixers in place of self-attention: equal parameters, equal training time, several seeds.

    python benchmarks/mixers.py [--minutes 1.5] [--seeds 3] [--runs runs/mixers]

Each mixer gets the feed-forward width that brings its parameters to those of self-attention, and as many steps as
fit into the time, measured before; the learning-rate schedule ends with them. Cross-attention stays as it is in all.
Writes results/mixers.json and docs/figures/mixers.{svg,png}, and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from common import keep, machine, mean_interval

from jorip.core.random import Key
from jorip.core.spec import Spec
from jorip.tasks.config import RunConfig, load_config
from jorip.tasks.run import open_run, prepare
from jorip.training.start import train

MIXERS = {
    "self-attention": "multi_head",
    "LSTM": "lstm",
    "RNN": "rnn",
    "convolution (3, dilated)": "{convolution: {kernel: 3, dilation: double}}",
    "convolution (5)": "{convolution: {kernel: 5}}",
    "fully connected": "fully_connected",
}


def config(mixer: str, d_ff: int, seed: int, steps: int | None) -> RunConfig:
    sides = [f"model.override.{side}.{field}" for side in ("encoder", "decoder")
             for field in (f"layer.mixer={mixer}", f"layer.feed_forward.d_ff={d_ff}", "max_len=64")]  # fmt: skip
    ends = [f"training.steps={steps}", f"training.evaluate_every={steps}"] if steps else []
    return load_config("dates", [*sides, f"training.seed={seed}", "training.minutes=60", *ends])


def equal_width(mixer: str, parameters: int) -> int:
    """The d_ff whose model has the number of parameters nearest to `parameters`."""

    def count(d_ff: int) -> int:
        return sum(p.numel() for p in prepare_spec(mixer, d_ff).build(device="meta").parameters())

    low, high = 8, 2048
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= parameters else (low, middle)
    return min((low, high), key=lambda w: abs(count(w) - parameters))


def prepare_spec(mixer: str, d_ff: int) -> Spec:
    from jorip.tasks.config import model_spec

    spec = model_spec(config(mixer, d_ff, 0, None).model, "transformer-tiny")
    sides = {side: getattr(spec, side).override({"vocab_size": 307}) for side in ("encoder", "decoder")}
    return spec.with_fields(**sides)


def seconds_a_step(mixer: str, d_ff: int) -> float:
    """Median time of a step, over batches of the real data."""
    task = prepare(config(mixer, d_ff, 0, None))
    optimizer = torch.optim.AdamW(task.model.parameters(), fused=True)
    times = []
    for number, ids in enumerate(task.plan(0)[:24]):
        start = time.perf_counter()
        total, count, _ = task.loss(task.model.train(), task.batch(ids, 0), Key(0, number), 0.0)
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return statistics.median(times[4:])


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--minutes", type=float, default=1.5)
    args.add_argument("--seeds", type=int, default=3)
    args.add_argument("--runs", type=Path, default=Path("runs/mixers"))
    given = args.parse_args()
    target = sum(p.numel() for p in prepare_spec("multi_head", 256).build(device="meta").parameters())
    rows = []
    for name, mixer in MIXERS.items():
        d_ff = equal_width(mixer, target)
        pace = seconds_a_step(mixer, d_ff)
        steps = int(given.minutes * 60 / pace)
        for seed in range(given.seeds):
            run = config(mixer, d_ff, seed, steps)
            task = prepare(run)
            folder = given.runs / f"{name.split()[0]}-{d_ff}-{seed}"
            result = train(task, run.training, folder)
            scores = {split: open_run(folder).evaluate(split) for split in ("test", "test_formats")}
            rows.append({
                "mixer": name, "seed": seed, "d_ff": d_ff, "steps": steps, "seconds": result.seconds,
                "parameters": sum(p.numel() for p in task.model.parameters()),
                **{f"{split}_{m}": scores[split][m] for split in scores for m in ("exact_match", "loss")},
            })  # fmt: skip
            print(rows[-1], flush=True)
            keep("mixers", {"machine": machine(), "minutes": given.minutes, "rows": rows})
    print(table(rows))
    plot(rows)


def table(rows: list[dict]) -> str:
    lines = [
        "| mixer | parameters | steps | seconds | exact match, new dates | exact match, new formats |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(r["mixer"] for r in rows):
        mine = [r for r in rows if r["mixer"] == name]
        cells = [
            "{:.3f} ± {:.3f}".format(*mean_interval([r[f"{s}_exact_match"] for r in mine]))
            for s in ("test", "test_formats")
        ]
        seconds = sum(r["seconds"] for r in mine) / len(mine)
        lines.append(
            f"| {name} | {mine[0]['parameters']:,} | {mine[0]['steps']} | {seconds:.0f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def plot(rows: list[dict]) -> None:
    import altair as alt

    values = [
        {
            "mixer": r["mixer"],
            "exact match": r[f"{s}_exact_match"],
            "test": {"test": "new dates", "test_formats": "new formats"}[s],
        }
        for r in rows
        for s in ("test", "test_formats")
    ]
    base = alt.Chart(alt.InlineData(values)).encode(
        y=alt.Y("mixer:N", sort=list(MIXERS), title=None),
        x=alt.X("exact match:Q", scale=alt.Scale(zero=False), title="exact match"),
    )
    chart = alt.layer(
        base.mark_point(filled=True, opacity=0.6, size=60),
        base.mark_tick(thickness=3, size=22).encode(x=alt.X("mean(exact match):Q", title="exact match")),
    ).facet(column="test:N")
    folder = Path(__file__).parent.parent / "docs" / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    chart.save(folder / "mixers.svg")
    chart.save(folder / "mixers.png", scale_factor=2)


if __name__ == "__main__":
    main()
