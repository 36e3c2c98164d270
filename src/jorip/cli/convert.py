"""`jorip convert`: a checkpoint from one format into the other."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from jorip.cli.console import say, write, write_json
from jorip.cli.options import Json

NAME = "convert"


def command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="A Hugging Face folder, hf:org/name@revision, a run's or a saved model's folder."
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The folder to write.")],
    format: Annotated[
        Literal["hf", "jorip"], typer.Option("--format", help="hf: what transformers opens; jorip: our own.")
    ],
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option("--dtype", help="Of the weights written (default: as they are)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert a checkpoint.

    Prints what became of every field and every weight, and what was written. The tokenizer, labels, special ids and
    generation settings go with it, in both directions. SRC is never changed.
    """
    from jorip.exchange.convert import convert

    done = convert(source, target, format, dtype)
    if as_json:
        write_json(done.as_dict())
        return
    for line in done.report:
        write(line)
    if done.report:
        write("")
    write(f"written: {target}, {format} format, {done.parameters:,} parameters, {done.dtype}")
    for name, n in done.files.items():
        write(f"  {name}  {n:,} bytes")
    for note in done.notes:
        say(f"note: {note}")
