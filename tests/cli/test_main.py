"""The command itself: help, errors, exit codes, encodings, and how quickly it answers."""

import os
import subprocess
import sys

import pytest

from jorip.cli import console
from jorip.cli import main as module
from jorip.cli.main import main
from jorip.core.errors import CheckpointError, Interrupted, NonFiniteError, ResourceError

COMMANDS = (
    *("check", "train", "eval", "predict", "generate", "show", "list", "cost", "compare", "report", "diff"),
    "convert",
)


def process(*arguments: str, code: str = "from jorip.cli.main import run; run()", **env: str):
    """A process of its own: only where the process is what is tested."""
    call = [sys.executable, "-c", code, *arguments]
    return subprocess.run(call, capture_output=True, env={**os.environ, **env}, timeout=120)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(jorip, command):
    done = jorip(command, "--help")
    assert done.code == 0 and f"Usage: jorip {command}" in done.out and done.err == ""
    assert f"  {command} " in jorip("--help").out
    assert jorip(command, "--no-such-option").code == 2


def test_usage_errors(jorip):
    wrong = jorip("tran")
    assert wrong.code == 2 and "Did you mean 'train'?" in wrong.err and wrong.out == ""
    assert jorip("train").code == 2
    assert jorip().code == 2
    version = jorip("--version")
    assert version.code == 0 and version.out.startswith("jorip 0.")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (NonFiniteError("step 3: loss nan"), 5, "error: step 3: loss nan"),
        (CheckpointError("model.safetensors: damaged"), 4, "error: model.safetensors: damaged"),
        (ResourceError("disk full"), 6, "error: disk full"),
        (Interrupted("stopped by SIGTERM"), 75, "interrupted: stopped by SIGTERM"),
        (MemoryError(), 6, "out of memory"),
        (OSError(28, "No space left on device", "runs/x"), 6, "runs/x: No space left on device"),
        (PermissionError(13, "Permission denied", "a.tsv"), 3, "a.tsv: Permission denied"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("shapes"), 1, "this is a bug in jorip: RuntimeError: shapes"),
    ],
)
def test_errors_become_one_message_and_a_code(jorip, monkeypatch, error, code, text):
    monkeypatch.setattr(module, "app", module.typer.Typer(add_completion=False))
    module.app.command("train")(fail_with(error))
    module.app.callback()(no_options)
    done = jorip("train")
    assert done.code == code and text in done.err and "Traceback" not in done.err
    if isinstance(error, RuntimeError):
        assert "Traceback" in jorip("--debug", "train").err
        monkeypatch.setenv("JORIP_DEBUG", "1")
        assert "Traceback" in jorip("train").err
    if not isinstance(error, Interrupted | KeyboardInterrupt):
        monkeypatch.setenv("RANK", "3")
        same_everywhere = isinstance(error, module._SAME_EVERYWHERE)
        assert ("[process 3]" in jorip("train").err) == (not same_everywhere)


def no_options() -> None:
    """So that one command is still a group."""


def fail_with(error):
    def command() -> None:
        raise error

    return command


def test_json_has_no_nan():
    assert console.plain({"a": float("nan"), "b": [float("inf"), 1], 3: None}) == {
        "a": "nan",
        "b": ["inf", 1],
        "3": None,
    }


def test_an_empty_list_is_json(capsys):
    console.write_json_list([])
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.skipif(os.name != "posix", reason="other systems have UTF-8 arguments")
@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_utf8_whatever_the_locale(locale, tmp_path):
    (tmp_path / "날짜.yaml").write_text("task: 번역\n", encoding="utf-8")
    code = "from jorip.cli.main import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "날짜.yaml"], capture_output=True, cwd=tmp_path, timeout=120,
        env={**os.environ, "LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "날짜.yaml" in done.stderr.decode("utf-8") and "'번역'" in done.stderr.decode("utf-8")


def test_a_closed_pipe_is_no_error():
    code = (
        "import os, sys, subprocess; p = subprocess.Popen([sys.executable, '-m', 'jorip.cli', 'list', '--json'],"
        "stdout=subprocess.PIPE, stderr=subprocess.PIPE); p.stdout.read(1); p.stdout.close();"
        "sys.stderr.buffer.write(p.stderr.read()); sys.exit(p.wait())"
    )
    done = process(code=code)
    assert done.returncode in (0, 1) and done.stderr == b""


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from jorip.cli.main import main;"
        "codes = [main([c, '--help']) for c in sys.argv[1:]] + [main(['-h'])];"
        "heavy = {'torch', 'pydantic', 'numpy', 'yaml', 'altair', 'tokenizers', 'rich.console'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy or any(codes) else 0)"
    )
    done = process(*COMMANDS, code=code)
    assert done.returncode == 0, done.stderr


def seconds(code: str, tries: int = 5) -> float:
    """Processor time of `code` and its children, the best of several: the tests share the machine, where a clock on the
    wall would show what else is going on. On an idle machine both are the same for a start, which waits for nothing."""
    timed = (
        "import os, sys, time; spent = lambda: sum(os.times()[:4])\n"
        f"def code():\n    start = spent(); {code}; return spent() - start\nprint(code(), file=sys.stderr)"
    )
    return min(float(process(code=timed).stderr.split()[-1]) for _ in range(tries))


@pytest.mark.parametrize("command", [(), ("train",), ("generate",)])
def test_help_answers_within_four_tenths_of_a_second(command):
    call = [sys.executable, "-m", "jorip.cli", *command, "--help"]
    assert 0.02 < seconds(f"import subprocess; subprocess.run({call!r}, stdout=-3, check=True)") < 0.4


def test_import_costs_little_beyond_torch():
    code = "import torch; start = spent(); import jorip; jorip.JoripError"
    assert seconds(code, tries=2) < 0.15


def test_main_leaves_the_streams_alone(capsys):
    before = sys.stdout
    assert main(["--version"]) == 0
    assert sys.stdout is before
