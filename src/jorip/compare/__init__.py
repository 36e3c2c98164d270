"""Variants of one recipe, trained under the same conditions and an equal budget, and measured."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jorip.compare.results import Comparison


class _Compare(ModuleType):
    """`jorip.compare` is this package, and calling it compares: see `jorip.compare.run.run`."""

    def __call__(self, recipe: Any, **options: Any) -> "Comparison":
        from jorip.compare.run import run

        return run(recipe, **options)


compare = sys.modules[__name__]
compare.__class__ = _Compare
