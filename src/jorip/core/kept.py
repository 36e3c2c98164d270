"""What is made once and read by many calls: masks, tables and random draws that follow from a few numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def kept(most: int):
    """`lru_cache` for functions that make tensors: they are ordinary ones even where the first caller predicts, whose
    inference mode would make tensors that training cannot keep for its backward pass."""

    def wrap(make: Callable[P, T]):
        @lru_cache(most)
        @wraps(make)
        def made(*args: P.args, **more: P.kwargs) -> T:
            with torch.inference_mode(False), torch.no_grad():
                return make(*args, **more)

        return made

    return wrap
