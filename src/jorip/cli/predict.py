"""`jorip predict`: what a trained model says about texts."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from jorip.cli.console import say_cut, write, write_json_list
from jorip.cli.folders import find_run
from jorip.cli.inputs import Item, read_items
from jorip.cli.options import Input, Json, Run

NAME = "predict"
CHUNK = 256  # examples between two writes: results of a long file appear as they are made


def command(
    run: Run,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts; - is standard input.")] = None,
    file: Input = None,
    as_json: Json = False,
) -> None:
    """Translate, classify or tag texts.

    One line out for each line in, by the run's best checkpoint. Texts are arguments, lines of --input FILE, or lines of
    standard input. Pairs are objects: '{"text": "...", "text2": "..."}', or two texts with a tab between. --json prints
    a list with all that is known of each.
    """
    folder, items = find_run(run), read_items(texts, file)

    from jorip.tasks.run import open_run

    predictor = open_run(folder)
    results = chunks(predictor, items)
    if as_json:
        write_json_list(results)
    else:
        for r in results:
            write(line(r))
    say_cut(predictor.task, len(items))


def chunks(predictor: Any, items: list[Item]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(items), CHUNK):
        yield from predictor.predict(items[start : start + CHUNK])


def line(result: dict[str, Any]) -> str:
    """One prediction as one line of text. Tagged words are word/TAG."""
    value = result["prediction"]
    if isinstance(value, list | tuple):
        words = result.get("words") or [""] * len(value)
        value = " ".join(f"{w}/{'_' if t is None else t}" for w, t in zip(words, value))
    score = result.get("probability")
    text = str(value).replace("\r", " ").replace("\n", " ")  # a line is a line, whatever the model wrote
    return f"{text}\t{score:.4f}" if isinstance(score, float) else text
