"""Loading takes the weights' memory once: transposed, fused and stacked ones included."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import jorip
from jorip.exchange.families import family
from tests.exchange.folders import make

CODE = """
import gc, re, sys, threading, time
import torch, jorip
from jorip.core.process_memory import give_back_memory

torch.set_num_threads(1)
def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status", encoding="ascii").read())[1]) * 1024

jorip.load(sys.argv[2])  # what is imported late
gc.collect()
give_back_memory()  # where Python had to compile its modules first, 4 MB of free heap are left, which loading would use
before = peak = anonymous()
stop = False
def watch():
    global peak
    while not stop:
        peak = max(peak, anonymous())
        time.sleep(0.0005)

thread = threading.Thread(target=watch, daemon=True)
thread.start()
model = jorip.load(sys.argv[1])
stop = True
thread.join()
print((max(peak, anonymous()) - before) / sum(p.nbytes for p in model.parameters()))
"""
GPT2 = {"n_layers": 4, "vocab_size": 4000, "d_model": 384, "n_heads": 6, "layer.feed_forward.d_ff": 1536}
SWITCH = {
    "**.vocab_size": 1000, "**.d_model": 128, "**.n_layers": 2, "**.n_heads": 4, "**.head_dim": 32, "**.d_ff": 1024,
    "**.capacity_factor": None, "**.capacity": 64,
}  # fmt: skip


def big(folder: Path, kind: str, spec) -> Path:
    """Weights of the spec's sizes, some of them in a copy, which is compared and dropped."""
    config, _ = family(kind).write(spec)
    empty = spec.build(device="meta")
    shapes = family(kind).rules(spec).save({n: p.detach() for n, p in empty.named_parameters()})
    folder.mkdir()
    tensors = {n: torch.randn(t.shape) for n, t in shapes.items()}
    if kind == "gpt2":
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("kind", "name", "changes"), [("gpt2", "gpt2", GPT2), ("switch_transformers", "switch-base-8", SWITCH)]
)
def test_anonymous_memory_grows_by_the_weights(kind, name, changes, tmp_path):
    folder = big(tmp_path / "big", kind, jorip.recipe(name).override(changes))
    size = (folder / "model.safetensors").stat().st_size
    assert size > 20e6
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(folder), str(make(tmp_path / "tiny", kind))],
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip
    assert 0.9 < float(done.stdout) < 1.15, done.stdout
