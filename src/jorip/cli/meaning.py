"""What a path of a spec means, in the words of the parts' own docstrings.

They say of a field `name: what it is`, one after the other with semicolons; a part's module begins with its name.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from jorip.core.spec import Spec


def meaning(path: str, spec: Spec) -> str:
    """Of a field, or of the part that stands in a slot; nothing where the docstrings say nothing, or the path leads
    nowhere in this spec."""
    owner, found = None, spec
    for step in path.split("."):
        if found is None:
            return ""
        owner, found = found, step_into(found, step)
    if isinstance(found, Spec):
        return first_words(type(found))
    name = path.rpartition(".")[2]
    return next((said for cls in type(owner).__mro__ if (said := says(cls, name))), "")


def step_into(value: Any, step: str) -> Any:
    """A field; `layers` and its numbers; None where there is no such thing."""
    if step == "layers" and hasattr(value, "layer"):
        return value.layer
    return value.of(int(step)) if step.isdigit() and hasattr(value, "of") else getattr(value, step, None)


def first_words(cls: type) -> str:
    """Of the module that the part is in: `RoPE (1234.5678)` of "RoPE (1234.5678): it turns ..."."""
    doc = " ".join((sys.modules[cls.__module__].__doc__ or "").split())
    return re.split(r": |\. (?=[A-Z])", doc)[0].rstrip(".")


def says(cls: type, name: str) -> str:
    """What a class says of its field."""
    doc = " ".join((cls.__doc__ or "").split()) if issubclass(cls, Spec) else ""
    for clause in re.split(r"; |\. (?=[a-z])", doc):
        names, colon, said = clause.partition(": ")
        if colon and name in re.split(r", | and ", names):
            return re.split(r"\. (?=[A-Z])", said)[0].rstrip(".")
    return ""
