"""Arguments that several commands share, written once. Nothing here imports more than typer."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped run (see: jorip list recipes).")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Overrides by path: training.epochs=3 model.override.d_model=128."),
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="SPEC", help="A recipe's name, a YAML or JSON file with a run or a model spec, or a run's folder."
    ),
]
SpecOverrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE", help="Overrides of the model by path: n_layers=6 layer.mixer.bias=false **.dropout=0."
    ),
]
Run = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder, its name under runs/, or a saved model's folder.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the resolved configuration as YAML, with every key, and stop.")
]
Input = Annotated[
    Path | None,
    typer.Option(
        "--input",
        "-i",
        metavar="FILE",
        help="Read from this file (.gz too): one text a line, .jsonl: one object a line. - is standard input.",
    ),
]
