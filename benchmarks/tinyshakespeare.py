"""tinyshakespeare at nanoGPT's CPU setting, ours and nanoGPT itself on the same machine, in turn.

    python benchmarks/tinyshakespeare.py --nanogpt PATH [--seeds 0 1 2] [--data
    ../shared/data/tinyshakespeare/input.txt.gz]

PATH is a checkout of karpathy/nanoGPT (a scratch copy: data are written there). Both run 2,000 steps of 12 windows
of 64 characters, 4 layers, 4 heads, width 128, no dropout, evaluation and checkpoints included. nanoGPT estimates its
validation loss on 20 batches, as its README says for a CPU; ours is over the whole split. Writes
results/tinyshakespeare.json.
"""

from __future__ import annotations

import argparse
import gzip
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from common import keep, machine, mean_interval
from rich.console import Console

from jorip.tasks.config import load_config
from jorip.tasks.run import prepare
from jorip.training.start import train

STEPS, TOKENS = 2000, 12 * 64
FLAGS = (
    "--device=cpu --compile=False --eval_iters=20 --log_interval=100 --block_size=64 --batch_size=12 --n_layer=4 "
    "--n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0"
)


def ours(seed: int, runs: Path, data: str) -> dict[str, float]:
    """Wall time from the first step to the last checkpoint, and the validation loss over the whole split."""
    sources = [f"data.train.path={data}", f"data.val.path={data}"]
    config = load_config("tinyshakespeare-char", [*sources, f"training.seed={seed}"])
    task = prepare(config)
    start = time.perf_counter()
    result = train(
        task, config.training, runs / f"tinyshakespeare-char-{seed}", Console(force_terminal=False, width=140)
    )
    seconds = time.perf_counter() - start
    return {
        "seed": seed,
        "seconds": seconds,
        "tokens_per_second": STEPS * TOKENS / seconds,
        "loss": result.metrics["loss"],
    }


def nanogpt(folder: Path, data: str) -> dict[str, float]:
    """nanoGPT's own train.py, timed from its first line of training to its end."""
    place = folder / "data" / "shakespeare_char"
    place.mkdir(parents=True, exist_ok=True)
    text = gzip.decompress(Path(data).read_bytes()).decode()
    characters = sorted(set(text))
    index = {c: i for i, c in enumerate(characters)}
    ids = np.array([index[c] for c in text], dtype=np.uint16)
    cut = int(len(ids) * 0.9)
    ids[:cut].tofile(place / "train.bin")
    ids[cut:].tofile(place / "val.bin")
    meta = {"vocab_size": len(characters), "itos": dict(enumerate(characters)), "stoi": index}
    (place / "meta.pkl").write_bytes(pickle.dumps(meta))
    command = [sys.executable, "-u", "train.py", "config/train_shakespeare_char.py", *FLAGS.split()]
    start, first, losses = time.perf_counter(), 0.0, []
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("num decayed"):  # model and optimizer are made: importing torch is not counted
                first = time.perf_counter()
            if found := re.match(r"step \d+: train loss [\d.]+, val loss ([\d.]+)", line):
                losses.append(float(found[1]))
    if process.returncode:
        raise SystemExit(f"nanoGPT ended with {process.returncode}")
    seconds = time.perf_counter() - (first or start)
    return {"seconds": seconds, "tokens_per_second": STEPS * TOKENS / seconds, "loss_20_batches": losses[-1]}


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--nanogpt", type=Path)
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args.add_argument("--runs", type=Path, default=Path("runs"))
    args.add_argument("--data", default="../shared/data/tinyshakespeare/input.txt.gz")
    given = args.parse_args()
    rows: dict[str, list] = {"jorip": [], "nanoGPT": []}
    for seed in given.seeds:
        rows["jorip"].append(ours(seed, given.runs, given.data))
        print("jorip", rows["jorip"][-1], flush=True)
        if given.nanogpt:
            rows["nanoGPT"].append(nanogpt(given.nanogpt, given.data))
            print("nanoGPT", rows["nanoGPT"][-1], flush=True)
        keep("tinyshakespeare", {"machine": machine(), "steps": STEPS, "tokens_a_step": TOKENS, "rows": rows})
    print("loss {:.4f} ± {:.4f}".format(*mean_interval([r["loss"] for r in rows["jorip"]])))
    for name, found in rows.items():
        if found:
            print(name, "tokens/s {:.0f} ± {:.0f}".format(*mean_interval([r["tokens_per_second"] for r in found])))


if __name__ == "__main__":
    main()
