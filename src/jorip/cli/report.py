"""`jorip report`: a run as one HTML page and pictures."""

from pathlib import Path
from typing import Annotated

import typer

from jorip.cli.console import say, write, write_json
from jorip.cli.folders import find_run
from jorip.cli.options import Json, Run

NAME = "report"


def command(
    run: Run,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="Write here (default: RUN/report.html).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a run as an HTML page and pictures.

    Curves, samples and alignments in one file that needs no network, and as PNGs in a folder beside it."""
    folder = find_run(run)

    from jorip.report.write import write_report

    made = write_report(folder, out)
    for note in made.notes:
        say(f"note: {note}")
    if as_json:
        write_json({"html": made.html, "png": made.pngs, "notes": made.notes})
    else:
        write(str(made.html))
        for png in made.pngs:
            write(str(png))
