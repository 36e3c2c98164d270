"""`jorip compare`: what it prints, what it refuses, and processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from jorip.compare import run as module
from jorip.compare.plan import Planned
from jorip.core.errors import JoripError
from tests.compare.tiny import recipe

VARY = ("--vary", "layer.mixer.mechanism=full,{local: {window: 2}}")
STEPS = ("--budget", "steps=2", "--seeds", "1")


@pytest.fixture
def here(monkeypatch):
    """Runs in this process."""
    monkeypatch.setattr(module, "in_a_process", module.here)


def test_a_table_and_where_the_page_is(jorip, tmp_path, here):
    out = tmp_path / "out"
    done = jorip("compare", recipe(tmp_path), *VARY, *STEPS, "--out", out)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "tiny: 2 steps a run" in lines[0] and lines[-1] == str(out / "report.html")
    for word in ("accuracy, test", "tokens/s", "peak MiB", "local(window=2)", "what differs", "layer.mixer.mechanism"):
        assert word in done.out
    assert "[1/2] full, seed 0: 2 steps" in done.err and "note: 1 seed: three or more are needed" in done.err
    again = jorip("compare", out / "run.json", "--json")
    assert again.code == 0 and again.json["reproduction"]["largest_difference"] == 0.0
    assert again.json["folder"] == str(tmp_path / "out-again") and len(again.json["variants"]) == 2


def test_a_plan_trains_nothing(jorip, tmp_path):
    done = jorip("compare", recipe(tmp_path), *VARY, "--budget", "flops=1e8", "--plan", "--out", tmp_path / "out")
    assert done.code == 0 and "6 runs" in done.out and "kFLOPs/token" in done.out and "what differs" in done.out
    assert not (tmp_path / "out").exists()
    plan = jorip("compare", recipe(tmp_path), *VARY, "--budget", "steps=3", "--plan", "--json").json
    assert [v["steps"] for v in plan["variants"]] == [3, 3] and plan["seeds"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "every run needs a budget: give --budget steps=N, flops=F or minutes=M"),
        (("--budget", "steps=1"), "there is nothing to compare: give --vary PATH=A,B"),
        (("--budget", "steps=1", "--vary", "a=1,2", "--vary", "a=3,4"), "--vary a is there twice: give all its values"),
        (("--budget", "steps=1", "--vary", "n_layers=1"), "takes two or more values, separated by commas: found only"),
        (("--budget", "stps=1", *VARY), "there is no budget called 'stps'; did you mean 'steps'?"),
        ((*VARY, *STEPS, "--seeds", "0"), "at least one seed is needed, found 0"),
        (("--budget", "steps=1", "--variants", "no.yaml"), "no.yaml: cannot be read"),
    ],
)
def test_mistakes(jorip, tmp_path, arguments, said):
    done = jorip("compare", recipe(tmp_path), *arguments, "--out", tmp_path / "out")
    assert done.code == 2 and said in done.err and done.out == ""


@pytest.mark.slow
def test_runs_have_processes_of_their_own_and_a_signal_saves(jorip, tmp_path, here):
    """The first is done, the second is stopped, and goes on (in this process, which is quicker) from where it was."""
    arguments = [recipe(tmp_path), *VARY, "--budget", "steps=100", "--seeds", "1", "--out", str(tmp_path / "out")]
    runs = [tmp_path / "out" / name / "seed-0" for name in ("full", "local-window=2")]
    call = [sys.executable, "-m", "jorip.cli", "compare", *arguments]
    with subprocess.Popen(
        call, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    ) as process:
        while not (runs[1] / "events.jsonl").exists() or b'"train"' not in (runs[1] / "events.jsonl").read_bytes():
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert "stopped during local(window=2), seed 0: run the same command to go on" in said
    first = json.loads((runs[0] / "measures.json").read_text(encoding="utf-8"))
    assert first["steps"] == 100 and (first["peak_bytes"] is None or first["peak_bytes"] > 0)
    assert not (runs[1] / "measures.json").exists()
    done = jorip("compare", *arguments, "--json")
    assert done.code == 0 and "1 of 2 runs are done already" in done.err and "resuming" in done.err
    assert [v["runs"][0]["steps"] for v in done.json["variants"]] == [100, 100]


@pytest.mark.parametrize(
    ("code", "error"), [(3, "DataError"), (5, "NonFiniteError"), (-9, "ResourceError"), (1, "JoripError")]
)
def test_what_a_process_ended_with(tmp_path, monkeypatch, code, error):
    class Ended(subprocess.Popen):
        def poll(self):
            super().wait()
            return code

    monkeypatch.setattr(module.sys, "executable", "true")
    monkeypatch.setattr(module.subprocess, "Popen", Ended)
    planned = Planned("a", "a", {}, {}, {}, 1, 1.0, None, 1)
    said = "was ended by signal 9 (out of memory?)" if code < 0 else f"did not finish (exit code {code})"
    with pytest.raises(JoripError) as raised:
        module.in_a_process(tmp_path, planned, 0)
    assert type(raised.value).__name__ == error and f"a, seed 0: {said}" in str(raised.value)
