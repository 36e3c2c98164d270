"""A recipe that trains in a moment, and where its runs happen: in this process."""

from pathlib import Path
from typing import Any

from jorip.compare.run import here, run

RECIPE = """# copy, tiny
task: tag
data:
  train: {builtin: copy, split: train, options: &}
  val: {builtin: copy, split: val, options: &}
  test: {builtin: copy, split: test, options: &}
  tokens: 24
tokenizer: {kind: words}
model: {override: {d_model: 8, n_layers: 2, n_heads: 2, layer.feed_forward.d_ff: 8, "**.dropout": 0.1}}
training: {epochs: 7, patience: 3, threads: 1, optimizer: {lr: 1e-2}, schedule: {kind: linear, warmup: 1}, log_every: 2}
evaluation: {metric: accuracy, samples: 1}
"""
SMALL = "{train: 24, val: 6, test: 6, symbols: 3, min_length: 3, max_length: 4}"
MECHANISMS = {"layer.mixer.mechanism": ["full", {"local": {"window": 2}}]}


def recipe(folder: Path, text: str = RECIPE) -> str:
    """The path of the YAML file."""
    path = folder / "tiny.yaml"
    path.write_text(text.replace("&", SMALL), encoding="utf-8")
    return str(path)


def compare(folder: Path, **options: Any):
    """A comparison in this process, two steps and one seed unless said otherwise, silent."""
    asked: dict[str, Any] = {"vary": MECHANISMS, "budget": "steps=2", "seeds": 1, "out": folder / "out", "launch": here}
    return run(recipe(folder), say=lambda _: None, **asked | options)
