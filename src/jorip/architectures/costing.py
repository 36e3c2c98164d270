"""`jorip.cost(spec, batch=8, length=4096)`: what a model costs, before it is built."""

from jorip.architectures.base import Architecture
from jorip.core.cost import CostTree, Shape


def cost(spec: Architecture, *, batch: int = 1, length: int = 512, memory: int = 0) -> CostTree:
    """Counts by part, printable. batch sequences of `length` tokens; memory: of an encoder-decoder's source, 0 = as
    many."""
    return spec.cost(Shape(batch, length, memory))
