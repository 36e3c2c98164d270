"""The `jorip` command: its list of commands, and what becomes of errors.

Each command's body imports what it needs when it runs, so that `--help` answers without torch.
"""

import os
import sys
import traceback
from typing import Any

import typer

from jorip.cli import (
    check,
    compare,
    convert,
    cost,
    diff,
    evaluate,
    generate,
    listing,
    plugins,
    predict,
    report,
    show,
    train,
)
from jorip.cli.console import first_process, utf8
from jorip.core.errors import ConfigError, DataError, Interrupted, JoripError, ResourceError

CTRL_C = 130  # what shells expect; a training that was told to stop in time has saved and returns 75
_SAME_EVERYWHERE = (ConfigError, DataError, Interrupted)  # every rank meets them, so rank 0 speaks for all

app = typer.Typer(
    name="jorip",
    help="The whole Transformer family, built from shared parts: train it, use it, look inside.",
    epilog="jorip --debug COMMAND ... (or JORIP_DEBUG=1) shows the traceback of an error; jorip --version the version. "
    + plugins.HELP
    + " "
    "Exit codes: 0 done, 2 bad configuration or usage, 3 bad data, 4 bad checkpoint, 5 loss not finite, "
    "6 out of memory or disk, 75 interrupted and saved.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (check, train, evaluate, predict, generate, convert, show, diff, listing, cost, compare, report):
    context = {"help_option_names": ["-h", "--help"]}
    app.command(module.NAME, context_settings=context, epilog=plugins.HELP)(module.command)


def main(arguments: list[str]) -> int:
    """Runs one command line; the exit code. Errors become one message on standard error.

    --version, --debug, --plugin and COMMAND --help are read here: to parse any option, typer imports all of pydantic,
    which takes longer than everything else that --help does.
    """
    debug = os.environ.get("JORIP_DEBUG", "") not in ("", "0")
    try:
        files, arguments = plugins.split(arguments)
        debug |= arguments[:1] == ["--debug"]
        arguments = arguments[1:] if arguments[:1] == ["--debug"] else arguments
        if arguments[:1] == ["--version"]:
            return version()
        group = typer.main.get_command(app)
        commands = getattr(group, "commands", {})
        if arguments[1:] in (["--help"], ["-h"]) and arguments[0] in commands:
            return explain_command(arguments[0], commands[arguments[0]])
        with plugins.registered(files, arguments[0] if arguments else ""):
            code = group.main(arguments, prog_name="jorip", standalone_mode=False)
        if code == CTRL_C:  # typer turns KeyboardInterrupt into this
            print("interrupted", file=sys.stderr)
        return code if isinstance(code, int) else 0
    except BrokenPipeError:  # `jorip cost x --help | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return CTRL_C
    except Exception as e:
        if usage := getattr(e, "show", None):  # click's own errors; typer brings a click of its own in newer versions
            usage()
            return getattr(e, "exit_code", ConfigError.exit_code)
        if debug:
            traceback.print_exc()
        return explain(e)


def version() -> int:
    """Prints it."""
    from jorip import __version__

    print(f"jorip {__version__}")
    return 0


def explain_command(name: str, command: Any) -> int:
    """Prints a command's help."""
    print(command.get_help(command.context_class(command, info_name=f"jorip {name}")), flush=True)
    return 0


def explain(error: Exception) -> int:
    """One message, no traceback; the exit code."""
    code, text = getattr(error, "exit_code", 1), str(error)
    if isinstance(error, MemoryError):
        code, text = ResourceError.exit_code, "out of memory: use a smaller batch (data.tokens), model or file"
    elif isinstance(error, UnicodeDecodeError):
        code, text = DataError.exit_code, f"the input is not UTF-8 (byte {error.start}): convert it to UTF-8"
    elif isinstance(error, OSError):
        code = ResourceError.exit_code if error.errno in (28, 122) else DataError.exit_code  # ENOSPC, EDQUOT
        text = f"{error.filename or 'a file'}: {error.strerror or error}"
    elif not isinstance(error, JoripError):
        text = f"this is a bug in jorip: {type(error).__name__}: {error}\njorip --debug ... shows where"
    word = "interrupted: " if isinstance(error, Interrupted) else "error: "
    if first_process():
        print(word + text, file=sys.stderr)
    elif not isinstance(error, _SAME_EVERYWHERE):
        print(f"[process {os.environ['RANK']}] {word}{text}", file=sys.stderr)
    return code


def run() -> None:
    """The console script."""
    if os.name == "posix" and not sys.flags.utf8_mode and sys.getfilesystemencoding() != "utf-8":
        # arguments and file names were decoded by the locale: only a new start can read them as UTF-8
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    utf8()
    sys.exit(main(sys.argv[1:]))
