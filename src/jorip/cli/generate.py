"""`jorip generate`: a language model goes on with a text."""

import sys
from typing import Annotated

import typer

from jorip.cli.console import first_process, say_cut, write, write_json_list
from jorip.cli.folders import find_run
from jorip.cli.inputs import read_items
from jorip.cli.options import Input, Json, Run
from jorip.core.errors import ConfigError

NAME = "generate"


def command(
    run: Run,
    prompts: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPT", help="Beginnings; - is standard input.")
    ] = None,
    file: Input = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="At most so many new tokens.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="0: always the likeliest token; 1: as the model believes.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Choose among the k likeliest tokens only.")] = None,
    top_p: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Choose among the likeliest tokens with this probability together."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed draws the same text.")] = None,
    beams: Annotated[int | None, typer.Option(min=1, help="Beam search of this width instead of drawing.")] = None,
    length_penalty: Annotated[float | None, typer.Option(help="Of beam search: above 0 favours longer texts.")] = None,
    stream: Annotated[
        bool | None, typer.Option("--stream/--no-stream", help="Print tokens as they come (default: in a terminal).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Go on with a text.

    Prints the prompt and what the model adds. --json prints a list of {prompt, text}, text being the new part only.
    """
    options = {
        "max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed,
        "beams": beams, "length_penalty": length_penalty,
    }  # fmt: skip
    options = {name: value for name, value in options.items() if value is not None}
    folder, items = find_run(run), [_prompt(i) for i in read_items(prompts, file)]
    if stream and (as_json or beams):
        raise ConfigError(f"--stream and {'--json' if as_json else '--beams'} exclude each other")

    from jorip.tasks.run import open_run

    model = open_run(folder)
    if as_json:
        texts = model.generate(items, **options)
        write_json_list({"prompt": p, "text": t} for p, t in zip(items, texts))
    elif stream or (stream is None and sys.stdout.isatty() and not beams):
        for prompt in items:
            _say(prompt)
            for piece in model.stream(prompt, **options):
                _say(piece)
            _say("\n")
    else:
        for prompt, new in zip(items, model.generate(items, **options)):
            write(prompt + new)
    say_cut(model.task, len(items))


def _prompt(item) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item.get("text"), str):
        return item["text"]
    raise ConfigError(f'a prompt in JSON is {{"text": ...}}, found {item}')


def _say(text: str) -> None:
    if first_process():
        sys.stdout.write(text)
        sys.stdout.flush()
