"""`jorip train`: one YAML file in, a run folder out. The same command again goes on where the last one stopped."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from jorip.cli.console import err, say, write, write_json
from jorip.cli.folders import run_folder
from jorip.cli.options import Config, Json, Overrides, PrintConfig
from jorip.cli.plugins import of_run

NAME = "train"


def command(
    config: Config,
    overrides: Overrides = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="NAME", help="Train into runs/NAME (default: CONFIG's name).")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Train into this folder instead.")] = None,
    print_config: PrintConfig = False,
    as_json: Json = False,
) -> None:
    """Train a model, or go on where it stopped.

    Writes runs/NAME: run.json, events.jsonl and checkpoints. With several processes:
    torchrun --nproc-per-node 2 -m jorip.cli train CONFIG
    """
    from jorip.tasks.config import load_config, to_yaml

    resolved = load_config(config, overrides or [])
    folder = run_folder(config, run, out)
    if print_config:
        write(to_yaml(resolved).rstrip())
        return

    used = of_run(folder)

    from jorip.tasks.run import prepare
    from jorip.training.start import train

    task = prepare(resolved)
    recipe = resolved.model_dump(mode="json", exclude={"training"}) | used
    result = train(task, resolved.training, folder, err(), recipe)
    if as_json:
        write_json(vars(result))
        return
    best = result.best
    if best:
        say(f"best: {best['metric']} {best['value']:.5g} at step {best['step']}, in {result.checkpoint}")
    say(f"finished ({result.reason}): {result.step} steps, {result.epoch:g} epochs, {result.seconds:.0f} s")
    write(next_steps(folder, resolved.task, bool(resolved.data.test)))


def next_steps(folder: Path | str, task: str, has_test: bool) -> str:
    """What to type now."""
    command, folder = "generate" if task == "language_model" else "predict", shlex.quote(str(folder))
    text = "your <mask> here" if task in ("masked_language_model", "span_corruption") else "your text here"
    if task == "question_answering":
        text = '{\\"context\\": \\"a text\\", \\"question\\": \\"a question\\"}'
    lines = [
        ("use it", f'jorip {command} {folder} "{text}"'),
        ("score it", f"jorip eval {folder}" if has_test else f"jorip eval {folder} --split val"),
        ("see it", f"jorip report {folder}"),
    ]
    return "Next:\n" + "\n".join(f"  {line:<58} # {why}" for why, line in lines)
