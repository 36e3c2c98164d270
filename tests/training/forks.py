"""Trainings in processes of their own, cheaply: one process imports torch and then forks a child for each training.

A job is {"run", "config", "task", "failpoint", "kill_after", "signals", "fsize", "ranks"}; the answer has each rank's
"code" (exit code, or minus the signal's number) and the "stderr" of rank 0.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Template:
    """The process that forks; `run` sends it a job and waits for the answer."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.forks"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(self, run: Path, config: dict[str, Any], **job: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"run": str(run), "config": config, **job}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@functools.cache
def template() -> Template:
    """The one template of this test process."""
    made = Template()
    atexit.register(made.close)
    return made


def _child(job: dict[str, Any], rank: int) -> int:
    """Trains in a forked child; returns the exit code. The final weights' hash goes to `<run>.hash`."""
    import torch

    from jorip.core.errors import JoripError
    from jorip.training import TrainConfig, failpoints, train
    from tests.training.toy import ToyTask, weights_hash

    run, ranks = Path(job["run"]), job.get("ranks", 1)
    log = os.open(f"{run}.log{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 2)
    failpoints.arm(job.get("failpoint", "") if rank == 0 else "")
    if ranks > 1:
        store = f"file://{run}.store{job['attempt']}"
        torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks)
    if limit := job.get("fsize"):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    options = dict(job.get("task", {}))
    if "dtype" in options:
        options["dtype"] = getattr(torch, options["dtype"])
    task = ToyTask(**options)
    try:
        train(task, TrainConfig(**job["config"]), run)
    except JoripError as e:
        print(type(e).__name__, e, file=sys.stderr, flush=True)
        return e.exit_code
    finally:
        if ranks > 1:
            torch.distributed.destroy_process_group()
    Path(f"{run}.hash{rank}").write_text(weights_hash(task.model), encoding="utf-8")
    return 0


def _fork(job: dict[str, Any], rank: int) -> int:
    if pid := os.fork():
        return pid
    code = 1
    try:
        code = _child(job, rank)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    import torch
    import torch._dynamo  # noqa: F401 (imported once, for all children; every optimizer imports it)

    import jorip.training.start  # noqa: F401

    torch.set_num_threads(1)
    for attempt, line in enumerate(sys.stdin):
        job = {**json.loads(line), "attempt": f"{attempt}-{random.random()}"}
        start = time.monotonic()
        children = [_fork(job, rank) for rank in range(job.get("ranks", 1))]
        sends = [(t, getattr(signal, name), rank) for t, name, rank in job.get("signals", [])]
        if job.get("kill_after") is not None:
            sends.append((job["kill_after"], signal.SIGKILL, 0))
        codes: dict[int, int] = {}
        while len(codes) < len(children):
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                codes[children.index(pid)] = os.waitstatus_to_exitcode(status)
                continue
            for send in [s for s in sends if time.monotonic() - start >= s[0]]:
                sends.remove(send)
                os.kill(children[send[2]], send[1])
            time.sleep(0.001)
        stderr = Path(f"{job['run']}.log0").read_text("utf-8")
        answer = {"codes": [codes[i] for i in sorted(codes)], "stderr": stderr, "seconds": time.monotonic() - start}
        print(json.dumps({**answer, "code": codes[0]}), flush=True)


if __name__ == "__main__":
    _serve()
