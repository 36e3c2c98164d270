"""JSON from files that nobody vouches for: no value twice, no NaN, nothing nested without end."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def loads(raw: bytes) -> Any:
    """Raises ValueError for what is not UTF-8 or not JSON, for a name that a mapping has twice (which of the two is
    meant?), NaN and infinities, which JSON does not have, and nesting too deep to be read."""
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_mapping, parse_constant=_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        found[name] = value
    return found


def _constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number of JSON")
