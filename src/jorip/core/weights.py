"""Checkpoint rules: one table from their names to ours, read in both directions.

    RULES = Rules(
        {
            "wte": "embedding.tokens",
            "h.{layer}.attn.c_attn": Fused(Q, K, V, sizes=(768, 768, 768), transposed=True),
            "h.{layer}.mlp.c_fc": Transposed("layers.{layer}.feed_forward.up"),
            "h.{layer}.attn.bias": Ignored(),
            "lm_head": Tied("wte"),
        },
        prefix="transformer.",
    )

A template names a module, and its leaves (`.weight`, `.bias` ...) follow; or it names one tensor with its leaf.
`{layer}` stands for a number and means the same number on both sides. Every key must match exactly one rule and every
parameter must get exactly one weight, or it is a CheckpointError that names the closest one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jorip.core.errors import CheckpointError, ConfigError

_SHOWN = 8  # names of each kind in an error
_HOLE = re.compile(r"\{(\w+)\}")


class Rename:
    """One of theirs is one of ours."""

    over: str | None = None  # the placeholder that only their side has

    def __init__(self, *ours: str):
        self.ours = ours

    def load(self, theirs: list[Tensor]) -> list[Tensor]:
        """Their tensors of one group, in order, as ours, in order. Raises ValueError when they do not fit."""
        return theirs

    def save(self, ours: list[Tensor]) -> list[Tensor]:
        return ours


class Transposed(Rename):
    """Matrices are stored the other way round (GPT-2's Conv1D); vectors are not."""

    def load(self, theirs):
        return [flip(t) for t in theirs]

    def save(self, ours):
        return [flip(t) for t in ours]


class Fused(Rename):
    """One of theirs holds several of ours one after the other, `sizes` rows each, along the output dimension."""

    def __init__(self, *ours: str, sizes: tuple[int, ...], transposed: bool = False):
        super().__init__(*ours)
        self.sizes, self.transposed = sizes, transposed
        if len(sizes) != len(ours):
            raise ConfigError(f"Fused needs a size for each of {', '.join(ours)}; found {sizes}")

    def load(self, theirs):
        whole = flip(theirs[0]) if self.transposed else theirs[0]
        if whole.dim() == 0 or whole.shape[0] != sum(self.sizes):
            raise ValueError(f"is {tuple(theirs[0].shape)}, expected {' + '.join(map(str, self.sizes))} outputs")
        return list(whole.split(self.sizes))

    def save(self, ours):
        if [len(t) for t in ours] != list(self.sizes):
            raise ValueError(f"are {[tuple(t.shape) for t in ours]}, expected {self.sizes} outputs")
        whole = torch.cat(ours)
        return [flip(whole) if self.transposed else whole]


class Stacked(Rename):
    """Many of theirs, one for each number of the placeholder `over` from 0, are the slices of one of ours (experts)."""

    def __init__(self, ours: str, over: str):
        super().__init__(ours)
        self.over = over

    def load(self, theirs):
        if len({t.shape for t in theirs}) > 1:
            raise ValueError(f"have different shapes: {sorted({tuple(t.shape) for t in theirs})}")
        return [torch.stack(theirs)]

    def save(self, ours):
        return list(ours[0])


@dataclass(frozen=True)
class Tied:
    """A copy of another of theirs: checked when it is there, not written."""

    to: str


@dataclass(frozen=True)
class Ignored:
    """Not a weight (a buffer of constants, say): dropped when it is there, not written."""


class _Template:
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
        m = self.pattern.fullmatch(key)
        if m is None:
            return None
        names = m.groupdict()
        return names, names.pop("leaf_")

    def fill(self, names: Mapping[str, str], leaf: str) -> str:
        return _HOLE.sub(lambda m: names[m[1]], self.text) + leaf


class _Group(NamedTuple):
    """The tensors that one rule handles at once: one set of numbers, one leaf."""

    rule: int
    names: tuple[tuple[str, str], ...]
    leaf: str


class Rules:
    """table: their template -> ours (a string), or an operation. prefix: in front of all their keys, or of none; heads:
    a table of what stands beside the prefixed model and never has the prefix."""

    def __init__(
        self,
        table: Mapping[str, str | Rename | Tied | Ignored],
        prefix: str = "",
        heads: Mapping[str, str | Rename | Tied | Ignored] | None = None,
    ):
        self.prefix, self.bare = prefix, set(heads or {})
        table = {**table, **(heads or {})}
        self.rules: list[tuple[_Template, Any]] = [
            (_Template(theirs), Rename(rule) if isinstance(rule, str) else rule) for theirs, rule in table.items()
        ]
        self.ours = [
            (_Template(o), i, place)
            for i, (_, rule) in enumerate(self.rules)
            for place, o in enumerate(getattr(rule, "ours", ()))
        ]
        self.theirs = [(t, i, 0) for i, (t, _) in enumerate(self.rules)]
        for template, i, _ in self.ours:
            theirs, rule = self.rules[i]
            if set(template.holes) != set(theirs.holes) - {rule.over}:
                raise ConfigError(f"rule {theirs.text!r}: {template.text!r} must have the same placeholders")
        for theirs, rule in self.rules:
            if isinstance(rule, Tied) and set(_Template(rule.to).holes) - set(theirs.holes):
                raise ConfigError(f"rule {theirs.text!r}: {rule.to!r} has placeholders that it has not")
            if isinstance(rule, Stacked) and rule.over not in theirs.holes:
                raise ConfigError(f"rule {theirs.text!r}: stacked over {rule.over!r}, which it has no placeholder for")

    def load(self, theirs: Mapping[str, Tensor], expected: Mapping[str, Any]) -> dict[str, Tensor]:
        """Their tensors -> ours, views where possible. expected: our parameters, name -> anything with a shape. Each of
        theirs is read when its rule is run, so that a mapping that reads from a file holds nothing twice.

        Raises CheckpointError for keys that match no rule or several, for parameters without a weight, weights without
        a parameter, and shapes that differ.
        """
        found: dict[str, Tensor] = {}
        stripped = {self.strip(k): k for k in theirs}
        if len(stripped) < len(theirs):
            raise CheckpointError(f"some keys are there twice, with and without the prefix {self.prefix!r}")
        for group, keys in self.grouped(stripped, self.theirs).items():
            template, rule = self.rules[group.rule]
            names = dict(group.names)
            if isinstance(rule, Tied):
                pair = template.fill(names, group.leaf), _Template(rule.to).fill(names, group.leaf)
                self.check_tied(theirs, stripped, *pair)
            elif not isinstance(rule, Ignored):
                if rule.over and [i for i, _ in keys] != list(range(len(keys))):
                    missing = sorted(set(range(len(keys) + 1)) - {i for i, _ in keys})[0]
                    gone = template.fill(names | {rule.over: str(missing)}, group.leaf)
                    raise CheckpointError(f"{gone!r} is missing: {rule.over} must count from 0 without gaps")
                try:
                    parts = rule.load([theirs[stripped[key]] for _, key in keys])
                except ValueError as e:
                    what = template.fill(names | {rule.over: "*"} if rule.over else names, group.leaf)
                    raise CheckpointError(f"{what!r} {e}") from None
                for name, part in zip(rule.ours, parts):
                    ours = _Template(name).fill(names, group.leaf)
                    if ours in found:
                        raise CheckpointError(f"{ours!r} gets two weights, one of them from {template.text!r}")
                    found[ours] = part
        check_names({n: t.shape for n, t in found.items()}, {n: t.shape for n, t in expected.items()})
        return found

    def save(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors -> theirs, contiguous; each of ours once (shared ones under one name).

        Raises CheckpointError for names that match no rule or several, and fused weights with a part missing.
        """
        found: dict[str, Tensor] = {}
        for group, keys in self.grouped(ours, self.ours).items():
            template, rule = self.rules[group.rule]
            names = dict(group.names)
            if len(keys) < len(rule.ours):
                gone = rule.ours[min(set(range(len(rule.ours))) - {i for i, _ in keys})]
                raise CheckpointError(
                    f"{_Template(gone).fill(names, group.leaf)!r} is missing, which {template.text!r} is fused from"
                )
            try:
                parts = rule.save([ours[key] for _, key in keys])
            except ValueError as e:
                raise CheckpointError(f"parts of {template.fill(names, group.leaf)!r} {e}") from None
            for i, part in enumerate(parts):
                every = names | {rule.over: str(i)} if rule.over else names
                prefix = "" if template.text in self.bare else self.prefix
                found[prefix + template.fill(every, group.leaf)] = part.contiguous()
        return found

    def strip(self, key: str) -> str:
        return key.removeprefix(self.prefix)

    def grouped(
        self, keys: Iterable[str], side: list[tuple[_Template, int, int]]
    ) -> dict[_Group, list[tuple[int, str]]]:
        """The keys by rule, numbers and leaf, each with its place in the group, in order."""
        groups: dict[_Group, list[tuple[int, str]]] = {}
        for key in keys:
            hits = [(hit, i, place, t) for t, i, place in side if (hit := t.match(key)) is not None]
            if len(hits) != 1:
                raise CheckpointError(unmatched(key, [t.text for *_, t in hits], [t.text for t, *_ in side]))
            (names, leaf), i, place, _ = hits[0]
            over = getattr(self.rules[i][1], "over", None)
            if side is self.theirs and over:
                place = int(names.pop(over))
            group = _Group(i, tuple(sorted(names.items())), leaf)
            groups.setdefault(group, []).append((place, key))
        return {g: sorted(found) for g, found in groups.items()}

    def check_tied(self, theirs: Mapping[str, Tensor], stripped: Mapping[str, str], key: str, to: str) -> None:
        if to not in stripped:
            raise CheckpointError(f"{key!r} is a copy of {to!r}, which is missing")
        a, b = theirs[stripped[key]], theirs[stripped[to]]
        if a.shape != b.shape or not torch.equal(a, b):
            raise CheckpointError(f"{key!r} should be the same as {to!r} and is not: this checkpoint does not tie them")


def flip(t: Tensor) -> Tensor:
    return t.mT if t.dim() == 2 else t


def unmatched(key: str, hits: list[str], known: list[str]) -> str:
    if hits:
        return f"{key!r} is matched by {len(hits)} rules: " + ", ".join(map(repr, hits))
    plain = re.sub(r"\.(weight|bias|scale)(_\w+)?$", "", re.sub(r"(?<![a-zA-Z])\d+", "{n}", key))
    close = get_close_matches(plain, known, 1, 0.0)
    return f"{key!r} is matched by no rule" + (f"; closest is {close[0]!r}" if close else "")


def check_names(found: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]]) -> None:
    """Raises CheckpointError unless both have the same names and shapes: what is missing, what is too much, with the
    closest names of the other side."""
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    lines = [f"no weight for {n!r}{closest(n, extra)}" for n in missing[:_SHOWN]]
    lines += [f"no parameter for {n!r}{closest(n, missing)}" for n in extra[:_SHOWN]]
    both = sorted(set(found) & set(expected))
    wrong = [n for n in both if tuple(found[n]) != tuple(expected[n])]
    lines += [f"{n!r} has shape {tuple(found[n])}, the model has {tuple(expected[n])}" for n in wrong[:_SHOWN]]
    if lines:
        more = len(missing) + len(extra) + len(wrong) - len(lines)
        lines += [f"and {more} more"] if more else []
        raise CheckpointError("the weights do not belong to this model:\n  " + "\n  ".join(lines))


def closest(name: str, others: list[str]) -> str:
    close = get_close_matches(name, others[:1000], 1)  # slow, and on names that may come from anywhere
    return f" (closest: {close[0]!r})" if close else ""
