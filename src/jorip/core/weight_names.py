"""Names of weights: templates with numbered places, and saying what is missing or too much."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from jorip.core.errors import CheckpointError

_SHOWN = 8  # names of each kind in an error
_HOLE = re.compile(r"\{(\w+)\}")


class Template:
    """`h.{layer}.attn` as a pattern."""

    def __init__(self, text: str):
        self.text, self.holes = text, tuple(_HOLE.findall(text))
        parts = _HOLE.split(text)  # text, name, text, name ... text
        seen: set[str] = set()
        pattern = ""
        for i, part in enumerate(parts):
            if i % 2 == 0:
                pattern += re.escape(part)
            else:
                pattern += f"(?P={part})" if part in seen else rf"(?P<{part}>0|[1-9]\d{{0,8}})"
                seen.add(part)
        self.pattern = re.compile(pattern + r"(?P<leaf_>(?:\.(?:weight|bias|scale)(?:_\w+)?)?)")

    def match(self, key: str) -> tuple[dict[str, str], str] | None:
        """The numbers by name and the leaf (`.weight`, `.bias` ... or nothing)."""
        m = self.pattern.fullmatch(key)
        if m is None:
            return None
        names = m.groupdict()
        return names, names.pop("leaf_")

    def fill(self, names: Mapping[str, str], leaf: str) -> str:
        return _HOLE.sub(lambda m: names[m[1]], self.text) + leaf


def unmatched(key: str, hits: list[str], known: list[str]) -> str:
    if hits:
        return f"{key!r} is matched by {len(hits)} rules: " + ", ".join(map(repr, hits))
    plain = re.sub(r"\.(weight|bias|scale)(_\w+)?$", "", re.sub(r"(?<![a-zA-Z])\d+", "{n}", key))
    close = get_close_matches(plain[:200], known, 1, 0.0)
    return f"{key!r} is matched by no rule" + (f"; closest is {close[0]!r}" if close else "")


def check_names(
    found: Mapping[str, Sequence[int]],
    expected: Mapping[str, Sequence[int]],
    called: Callable[[str], str] = lambda name: "",
) -> None:
    """Raises CheckpointError unless both have the same names and shapes: what is missing, what is too much, with the
    closest names of the other side. called: the name that a checkpoint has for one, where it is another."""

    def there(n: str) -> str:
        other = called(n)
        return f" ({other!r} there)" if other not in ("", n) else ""

    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    lines = [f"no weight for {n!r}{there(n)}{closest(n, extra)}" for n in missing[:_SHOWN]]
    lines += [f"no parameter for {n!r}{there(n)}{closest(n, missing)}" for n in extra[:_SHOWN]]
    both = sorted(set(found) & set(expected))
    wrong = [n for n in both if tuple(found[n]) != tuple(expected[n])]
    lines += [
        f"{n!r} has shape {tuple(found[n])}, the model has {tuple(expected[n])}{there(n)}" for n in wrong[:_SHOWN]
    ]
    if lines:
        more = len(missing) + len(extra) + len(wrong) - len(lines)
        lines += [f"and {more} more"] if more else []
        raise CheckpointError("the weights do not belong to this model:\n  " + "\n  ".join(lines))


def closest(name: str, others: list[str]) -> str:
    close = get_close_matches(name, others[:1000], 1)  # slow, and on names that may come from anywhere
    return f" (closest: {close[0]!r})" if close else ""
