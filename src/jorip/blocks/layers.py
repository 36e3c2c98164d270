"""Stacks that are not uniform, as values: `Cycle(a, b)` repeats its blocks, `Each(a, b, c)` names every layer."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, field_validator

from jorip.blocks.base import Block
from jorip.core.errors import SpecError


class Several(Block, abstract=True):
    """Base of both: an override reaches every block, `blocks.1.x` only one."""

    blocks: tuple[Block, ...] = Field(min_length=1)

    def __init__(self, *blocks: Block, **fields: Any):
        super().__init__(**({"blocks": blocks} if blocks else {}), **fields)

    @field_validator("blocks", mode="before")
    @classmethod
    def _list(cls, value):
        return tuple(value) if isinstance(value, list) else value

    def replace_at(self, head: str, rest: str, value: Any) -> Self:
        if head == "blocks":
            number, _, rest = rest.partition(".")
            if not number.isdigit() or int(number) >= len(self.blocks):
                raise SpecError(f"{self.kind} has blocks 0 to {len(self.blocks) - 1}, found {number!r}")
            new = [b.override({rest: value}) if i == int(number) else b for i, b in enumerate(self.blocks)]
            return type(self)(*new)
        return type(self)(*(b.override({f"{head}.{rest}" if rest else head: value}) for b in self.blocks))

    @classmethod
    def examples(cls):
        return ()


class Cycle(Several, name="cycle"):
    """Layer i is blocks[i mod len]: alternating stacks."""

    def of(self, index: int) -> Block:
        return self.blocks[index % len(self.blocks)].of(index)


class Each(Several, name="each"):
    """Layer i is blocks[i]; there must be exactly n_layers of them."""

    def of(self, index: int) -> Block:
        if index >= len(self.blocks):
            raise SpecError(f"each names {len(self.blocks)} layers, but n_layers asks for layer {index}")
        return self.blocks[index].of(index)
