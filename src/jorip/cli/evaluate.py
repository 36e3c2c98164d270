"""`jorip eval`: the scores of a run's best checkpoint."""

from typing import Annotated

import typer

from jorip.cli.console import facts, write_json
from jorip.cli.folders import find_run
from jorip.cli.options import Json, Run

NAME = "eval"


def command(
    run: Run,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", metavar="NAME", help="val or a test set, may be repeated (default: all test sets)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score a run on data it was not trained on.

    The scores are also kept in RUN/eval/NAME.json, where the report finds them.
    """
    folder = find_run(run)

    from jorip.report.scores import keep_scores
    from jorip.tasks.run import open_run

    predictor = open_run(folder)
    splits = split or list(predictor.task.config.data.test) or ["val"]
    scores = {}
    for name in splits:
        scores[name] = predictor.evaluate(name)
        if not as_json:
            facts(f"{folder}: {name}", scores[name])
    if as_json:
        write_json({"run": str(folder), "scores": scores})
    for name, found in scores.items():  # last: what was computed is shown even where nothing can be written
        keep_scores(folder, name, found)
