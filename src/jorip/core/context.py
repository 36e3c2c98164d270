"""What travels beside the rows through one forward pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from jorip.core.layout import Layout
from jorip.core.mask import Everything, Mask
from jorip.core.random import Key, row_keys


@dataclass
class Context:
    """mask: what self-attention may see; shared: made once per stack (rotary tables, row keys); state: what decoding
    keeps, by path; key: random draws of this step, None outside training; position: the stack's position encoding;
    notes: auxiliary losses and statistics by (path, name), assigned so that recomputation is harmless;
    captures: activations asked for by public path."""

    mask: Mask = field(default_factory=Everything)
    shared: dict[Any, Any] = field(default_factory=dict)
    state: dict[str, Any] | None = None
    key: Key | None = None
    position: Any = None
    notes: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    captures: dict[str, Tensor | None] = field(default_factory=dict)

    def capture(self, path: str) -> None:
        """Ask for the activation (an attention map, say) of this public path; read `captures[path]` afterwards."""
        self.captures[path] = None

    def crossing(self) -> Context:
        """The same context for a part that reads a memory: no causal mask, no positions."""
        return replace(self, mask=Everything(), position=None)

    def part_state(self, path: str):
        return None if self.state is None else self.state[path]

    def row_keys(self, at: Layout) -> Tensor:
        """(rows,) int32 hash of each row's sample and place, made once per layout."""
        name = ("row_keys", id(at))
        if name not in self.shared:  # the layout is kept beside them, so that its id cannot come to name another one
            self.shared[name] = at, row_keys(at.uid[at.sample], at.order)
        return self.shared[name][1]
