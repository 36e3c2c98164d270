"""Memory as it is: bytes of distinct storages that autograd keeps, and that are alive at once, on a CPU."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def kept(module: nn.Module, run: Callable[[], Any]) -> tuple[int, Any]:
    """Bytes of all distinct storages that `run` saves for its backward, the module's own parameters left out, and what
    it returned (while that lives, they live)."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    found: dict[int, Any] = {}

    def pack(t: Tensor) -> Tensor:
        if (at := t.untyped_storage()).data_ptr() not in own:
            found[at.data_ptr()] = at
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        result = run()
    return sum(s.nbytes() for s in found.values()), result


class Live(TorchDispatchMode):
    """Counts the storages that operations make while they live. `peak`: the most bytes at once."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.seen: dict[int, Any] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for t in tree_leaves(result):
            if isinstance(t, Tensor) and t.untyped_storage()._cdata not in before:
                self.add(t.untyped_storage())
        return result

    def add(self, storage) -> None:
        name, size = storage._cdata, storage.nbytes()
        if name in self.seen:
            return
        self.now += size
        self.peak = max(self.peak, self.now)
        self.seen[name] = weakref.finalize(storage, self.drop, name, size)

    def drop(self, name: int, size: int) -> None:
        self.now -= size
        del self.seen[name]


def peak(run: Callable[[], Any]) -> int:
    """The most bytes alive at once of what `run` makes; what was there before is not counted."""
    with Live() as live:
        result = run()  # noqa: F841  alive to the end
        return live.peak
