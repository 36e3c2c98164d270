"""Where a part is built: dimensions flow down from the architecture, parts never repeat them."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Site:
    """path: the part's public name in the model; index of n_layers: its layer; causal: may not look ahead;
    cross: it reads a memory of width d_memory; max_len: longest sequence, None where nothing limits it; nodes: which
    external nodes the stack adds to its sequences, of which `hubs` are in front."""

    path: str
    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    causal: bool = False
    cross: bool = False
    max_len: int | None = None
    d_memory: int | None = None
    index: int = 0
    n_layers: int = 1
    nodes: str | None = None
    hubs: int = 0

    def at(self, name: str, **changes) -> Site:
        """The site of a child called `name`."""
        return replace(self, path=f"{self.path}.{name}" if self.path else name, **changes)
