"""The dates task with other mixers in place of self-attention, under equal parameters and equal training time: what
`jorip compare` finds.

    python benchmarks/mixers.py [--minutes 1.2] [--runs runs/compare/dates]

Each mixer stands in both stacks and gets the feed-forward width that brings the parameters to those of self-attention;
the attention from decoder to encoder stays as it is. Three seeds. Goes on where it stopped. Writes
results/compare-dates.json, results/compare-dates.run.json (which repeats it) and docs/figures/compare-dates.{png,svg},
and prints Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from attention_compare import show, store

from jorip.architectures.base import Architecture
from jorip.compare.run import run
from jorip.tasks.config import load_config
from jorip.tasks.run import prepare

MIXERS: dict[str, Any] = {
    "self-attention": "multi_head",
    "LSTM": "lstm",
    "RNN": "rnn",
    "convolution (3, dilated)": {"convolution": {"kernel": 3, "dilation": "double"}},
    "convolution (5)": {"convolution": {"kernel": 5}},
    "fully connected": "fully_connected",
}
LONGEST = ["model.override.encoder.max_len=64", "model.override.decoder.max_len=64"]  # the fully connected must know


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--minutes", type=float, default=1.2)
    args.add_argument("--runs", type=Path, default=Path("runs/compare/dates"))
    given = args.parse_args()
    spec = prepare(load_config("dates", LONGEST)).model.spec
    parameters = count(spec)
    found = run(
        "dates",
        variants={name: replaced(spec, mixer, parameters) for name, mixer in MIXERS.items()},
        overrides=LONGEST,
        budget={"minutes": given.minutes},
        seeds=3,
        out=given.runs,
    )
    show(found)
    store("dates", found)


def replaced(spec: Architecture, mixer: Any, parameters: int) -> dict[str, Any]:
    """The changes that put the mixer in, with the d_ff whose model comes nearest to so many parameters."""

    def changes(d_ff: int) -> dict[str, Any]:
        fields = {"layer.mixer": mixer, "layer.feed_forward.d_ff": d_ff}
        return {f"{side}.{field}": value for side in ("encoder", "decoder") for field, value in fields.items()}

    low, high = 8, 2048
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(spec.override(changes(middle))) <= parameters else (low, middle)
    return changes(min((low, high), key=lambda w: abs(count(spec.override(changes(w))) - parameters)))


def count(spec: Architecture) -> int:
    return sum(p.numel() for p in spec.build(device="meta").parameters())


if __name__ == "__main__":
    main()
