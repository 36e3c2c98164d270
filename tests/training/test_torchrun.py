"""The real launcher, once: what the other tests do with forks also works from `torchrun`."""

import os
import subprocess
import sys

import torch

from jorip.training import TrainConfig, read_tensors, train
from tests.training.forks import ROOT
from tests.training.toy import ToyTask

STEPS = 10


def main(run: str) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    train(ToyTask(dtype=torch.float64), TrainConfig(steps=STEPS, seed=3, label_smoothing=0.1), run)


def test_two_processes_equal_one(tmp_path):
    main(str(tmp_path / "one"))
    launch = "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tests.training.test_torchrun"
    done = subprocess.run(
        [sys.executable, "-m", *launch, str(tmp_path / "two")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "2 processes" in done.stderr
    assert done.stderr.count(f"step {STEPS}  validation") == 1  # one of the two talks
    one, two = (read_tensors(tmp_path / n / f"ckpt/step-{STEPS:08d}/model.safetensors") for n in ("one", "two"))
    for name, t in one.items():
        torch.testing.assert_close(two[name], t, rtol=0, atol=1e-12)


if __name__ == "__main__":
    main(sys.argv[1])
