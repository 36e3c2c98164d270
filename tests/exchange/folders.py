"""Tiny Hugging Face folders of every family, made without transformers, and ways to damage them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import jorip
from jorip.core.errors import CheckpointError
from jorip.core.spec import flatten
from jorip.exchange.families import families, family

SIZES = {
    "vocab_size": 23, "d_model": 8, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "head_dim": 4, "max_len": 16,
    "d_ff": 12, "n_experts": 3, "experts": 3,
}  # fmt: skip


def tiny(kind: str):
    """The family's base with small sizes."""
    spec = family(kind).base()
    for path, value in flatten(spec).items():
        name = path.rpartition(".")[2]
        if name in SIZES and type(value) is int:
            spec = spec.override({path: SIZES[name]})
    return spec


def theirs(kind: str = "gpt2") -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A config and weights that belong together."""
    spec = tiny(kind)
    config, _ = family(kind).write(spec)
    model = spec.build(seed=0)
    return config, family(kind).rules(spec).save({n: p.detach() for n, p in model.named_parameters()})


def put(folder: Path, config: Any, tensors: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


def make(folder: Path, kind: str = "gpt2", **changes: Any) -> Path:
    """A whole folder; changes: of the config, None removes a field."""
    config, tensors = theirs(kind)
    return put(folder, {k: v for k, v in (config | changes).items() if v is not None}, tensors)


def reconfigure(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    return folder


def reweigh(folder: Path, change) -> Path:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def refused(folder: Path | str, *says: str, error: type = CheckpointError) -> str:
    """Loading is an error of the right kind, and of the right exit code, that says all of this."""
    with pytest.raises(error) as e:
        jorip.load(folder)
    assert type(e.value) is error and e.value.exit_code == (6 if error is not CheckpointError else 4)
    for word in says:
        assert word in str(e.value), str(e.value)
    return str(e.value)


def same(a, b) -> bool:
    """The same weights, bit for bit."""
    a, b = dict(a.named_parameters()), dict(b.named_parameters())
    return list(a) == list(b) and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


ALL = families()
