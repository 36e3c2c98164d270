"""Checkpoint rules: one table from their names to ours, read in both directions.

    RULES = Rules(
        {
            "wte": "embedding.tokens",
            "h.{layer}.attn.c_attn": Fused(Q, K, V, sizes=(768, 768, 768), transposed=True),
            "h.{layer}.mlp.c_fc": Transposed("layers.{layer}.feed_forward.up"),
            "h.{layer}.attn.bias": Ignored("the causal mask"),
            "lm_head": Tied("wte"),
        },
        prefix="transformer.",
    )

A template names a module, and its leaves (`.weight`, `.bias` ...) follow; or it names one tensor with its leaf.
`{layer}` stands for a number and means the same number on both sides. `"a|b": ...` knows two names for one of theirs,
and writes the first. Every key must match exactly one rule and every parameter must get exactly one weight, or it is a
CheckpointError that names the closest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jorip.core.errors import CheckpointError, ConfigError
from jorip.core.weight_names import Template, check_names, unmatched
from jorip.core.weight_ops import Fused, Ignored, Rename, Reshaped, Stacked, Tied, Transposed

__all__ = ["Account", "Fused", "Ignored", "NotTied", "Rename", "Reshaped", "Rules", "Stacked", "Tied", "Transposed"]
__all__ += ["check_names"]

Table = Mapping[str, str | Rename | Tied | Ignored]


class NotTied(CheckpointError):
    """Two of theirs that should be one matrix differ. `rule`: the template of the copy."""

    rule = ""


@dataclass
class Account:
    """What became of every key: rule -> (what was done, our templates, their keys). prefixed: a key had the prefix."""

    rows: dict[str, tuple[str, tuple[str, ...], list[str]]] = field(default_factory=dict)
    prefixed: bool = False

    def add(self, rule: str, done: str, ours: tuple[str, ...], keys: Iterable[str]) -> None:
        self.rows.setdefault(rule, (done, ours, []))[2].extend(keys)


class _Group(NamedTuple):
    """The tensors that one rule handles at once: one set of numbers, one leaf."""

    rule: int
    names: tuple[tuple[str, str], ...]
    leaf: str


class Rules:
    """table: their template -> ours (a string), or an operation. prefix: in front of all their keys, or of none; heads:
    a table of what stands beside the prefixed model and never has the prefix; old: endings that keys of old checkpoints
    have -> what they are called now ({"LayerNorm.gamma": "LayerNorm.weight"}), read and never written."""

    def __init__(
        self, table: Table, prefix: str = "", heads: Table | None = None, old: Mapping[str, str] | None = None
    ):
        self.prefix, self.bare, self.old = prefix, set(heads or {}), dict(old or {})
        self.rules: list[tuple[Template, Any]] = []
        self.theirs: list[tuple[Template, int, int]] = []  # template, rule, place among the rule's tensors
        self.ours: list[tuple[Template, int, int]] = []
        for text, rule in {**table, **(heads or {})}.items():
            names = [Template(t) for t in text.split("|")]
            rule = Rename(rule) if isinstance(rule, str) else rule
            self.theirs += [(t, len(self.rules), 0) for t in names]
            self.ours += [(Template(o), len(self.rules), i) for i, o in enumerate(getattr(rule, "ours", ()))]
            self.rules.append((names[0], rule))
            if text in self.bare:
                self.bare.add(names[0].text)
        self.check()

    def check(self) -> None:
        """Raises ConfigError for a table that cannot be read in both directions."""
        for template, i, _ in [*self.ours, *self.theirs]:
            theirs, rule = self.rules[i]
            over = getattr(rule, "over", None)
            if set(template.holes) - {over} != set(theirs.holes) - {over}:
                raise ConfigError(f"rule {theirs.text!r}: {template.text!r} must have the same placeholders")
        for theirs, rule in self.rules:
            if isinstance(rule, Tied) and set(Template(rule.to).holes) - set(theirs.holes):
                raise ConfigError(f"rule {theirs.text!r}: {rule.to!r} has placeholders that it has not")
            if isinstance(rule, Stacked) and rule.over not in theirs.holes:
                raise ConfigError(f"rule {theirs.text!r}: stacked over {rule.over!r}, which it has no placeholder for")

    def load(
        self, theirs: Mapping[str, Tensor], expected: Mapping[str, Any], account: Account | None = None, own=False
    ) -> dict[str, Tensor]:
        """Their tensors -> ours, views where possible. expected: our parameters, name -> anything with a shape;
        account: is filled. own: every tensor gets memory of its own, at once when its rule has run, so that a mapping
        that reads from a file holds nothing twice.

        Tensors on the meta device are checked in all but their values. Raises CheckpointError for keys that match no
        rule or several, for parameters without a weight, weights without a parameter, and shapes that differ; NotTied.
        """
        found: dict[str, Tensor] = {}
        account = Account() if account is None else account
        account.prefixed = bool(self.prefix) and any(k.startswith(self.prefix) for k in theirs)
        keys_of = self.stripped(theirs)
        alone = self.stand_ins(keys_of)
        for group, keys in self.grouped(keys_of, self.theirs).items():
            template, rule = self.rules[group.rule]
            names = dict(group.names)
            read = [keys_of[key] for _, key in keys]
            if isinstance(rule, Tied):
                to = self.original(keys_of, rule, names, group.leaf)
                check_tied(theirs, keys_of, keys[0][1], to or "", template.text)
                account.add(template.text, "tied to", (rule.to,), read)
            elif isinstance(rule, Ignored):
                account.add(template.text, f"ignored: {rule.why}", (), read)
            else:
                sources = [theirs[key] for key in read]
                for name, part in zip(rule.ours, self.run(rule, template, names, group.leaf, keys, sources, own)):
                    ours = Template(name).fill(names, group.leaf)
                    if ours in found:
                        raise CheckpointError(f"{ours!r} gets two weights, one of them from {template.text!r}")
                    found[ours] = part
                account.add(template.text, rule.done, rule.ours, [k for k in read if k not in alone])
        check_names({n: t.shape for n, t in found.items()}, {n: t.shape for n, t in expected.items()}, self.named)
        return found

    def named(self, ours: str) -> str:
        """What one of ours is called by them, for messages."""
        for template, i, _ in self.ours:
            if (hit := template.match(ours)) is not None:
                names, leaf = hit
                theirs, rule = self.rules[i]
                return self.written(theirs, names | ({rule.over: "*"} if rule.over else {}), leaf)
        return ""

    def written(self, theirs: Template, names: Mapping[str, str], leaf: str, prefixed: bool = True) -> str:
        return (self.prefix if prefixed and theirs.text not in self.bare else "") + theirs.fill(names, leaf)

    def run(self, rule: Rename, template: Template, names, leaf: str, keys, sources: list[Tensor], own: bool):
        """One group's tensors, as ours."""
        if rule.over and [i for i, _ in keys] != list(range(len(keys))):
            missing = min(set(range(len(keys) + 1)) - {i for i, _ in keys})
            gone = template.fill(names | {rule.over: str(missing)}, leaf)
            raise CheckpointError(f"{gone!r} is missing: {rule.over} must count from 0 without gaps")
        try:
            parts = rule.load(sources)
        except ValueError as e:
            what = template.fill(names | {rule.over: "*"} if rule.over else names, leaf)
            raise CheckpointError(f"{what!r} {e}") from None
        if not own:
            return parts
        lent = {t.untyped_storage().data_ptr() for t in sources}
        return [
            t.clone(memory_format=torch.contiguous_format) if t.untyped_storage().data_ptr() in lent else t.contiguous()
            for t in parts
        ]

    def save(self, ours: Mapping[str, Tensor], prefixed: bool = True) -> dict[str, Tensor]:
        """Our tensors -> theirs, contiguous; each of ours once (shared ones under one name). prefixed: with the prefix.

        Raises CheckpointError for names that match no rule or several, and fused weights with a part missing.
        """
        found: dict[str, Tensor] = {}
        for group, keys in self.grouped(ours, self.ours).items():
            template, rule = self.rules[group.rule]
            names = dict(group.names)
            if len(keys) < len(rule.ours):
                gone = rule.ours[min(set(range(len(rule.ours))) - {i for i, _ in keys})]
                raise CheckpointError(
                    f"{Template(gone).fill(names, group.leaf)!r} is missing, which {template.text!r} is fused from"
                )
            try:
                parts = rule.save([ours[key] for _, key in keys])
            except ValueError as e:
                raise CheckpointError(f"parts of {template.fill(names, group.leaf)!r} {e}") from None
            for i, part in enumerate(parts):
                every = names | {rule.over: str(i)} if rule.over else names
                found[self.written(template, every, group.leaf, prefixed)] = part.contiguous()
        return found

    def stripped(self, keys: Iterable[str]) -> dict[str, str]:
        """The name that a rule knows -> the key as it is in the file."""
        found: dict[str, str] = {}
        for key in keys:
            name = key.removeprefix(self.prefix)
            for old, new in self.old.items():
                if name == old or name.endswith("." + old):
                    name = name.removesuffix(old) + new
            if name in found:
                raise CheckpointError(
                    f"{name!r} is there twice, with and without the prefix {self.prefix!r}"
                    if {found[name], key} == {name, self.prefix + name}
                    else f"{name!r} is there twice, as {found[name]!r} and as {key!r}"
                )
            found[name] = key
        return found

    def stand_ins(self, keys_of: dict[str, str]) -> set[str]:
        """Adds the originals of copies that were stored alone (safetensors' save_model keeps the first name of a shared
        tensor) under the copy's key; those keys."""
        added: set[str] = set()
        for template, i, _ in self.theirs:
            rule = self.rules[i][1]
            found = {k: m for k in keys_of if (m := template.match(k))} if isinstance(rule, Tied) else {}
            for key, (names, leaf) in found.items():
                if self.original(keys_of, rule, names, leaf) is None:
                    keys_of[Template(rule.to).fill(names, leaf)] = keys_of[key]
                    added.add(keys_of[key])
        return added

    def original(self, keys_of: Mapping[str, str], rule: Tied, names: Mapping[str, str], leaf: str) -> str | None:
        """What a copy is a copy of, under the first of its names that is there."""
        rules = {i for t, i, _ in self.theirs if t.text == rule.to}
        texts = [t.text for t, i, _ in self.theirs if i in rules] or [rule.to]
        return next((k for t in texts if (k := Template(t).fill(names, leaf)) in keys_of), None)

    def grouped(
        self, keys: Iterable[str], side: list[tuple[Template, int, int]]
    ) -> dict[_Group, list[tuple[int, str]]]:
        """The keys by rule, numbers and leaf, each with its place in the group, in order."""
        groups: dict[_Group, dict[int, str]] = {}
        for key in keys:
            hits = [(hit, i, place, t) for t, i, place in side if (hit := t.match(key)) is not None]
            if len(hits) != 1:
                raise CheckpointError(unmatched(key, [t.text for *_, t in hits], [t.text for t, *_ in side]))
            (names, leaf), i, place, _ = hits[0]
            over = getattr(self.rules[i][1], "over", None)
            if side is self.theirs and over:
                place = int(names.pop(over))
            group = groups.setdefault(_Group(i, tuple(sorted(names.items())), leaf), {})
            if (other := group.setdefault(place, key)) != key:
                raise CheckpointError(f"{other!r} and {key!r} are two names for one weight: remove one of them")
        return {g: sorted(found.items()) for g, found in groups.items()}


def check_tied(theirs: Mapping[str, Tensor], keys_of: Mapping[str, str], key: str, to: str, rule: str) -> None:
    """Raises NotTied when a copy is not one."""
    a, b = theirs[keys_of[key]], theirs[keys_of[to]]
    if a.shape != b.shape or a.dtype != b.dtype or (not a.is_meta and not torch.equal(a, b)):
        error = NotTied(f"{key!r} should be the same as {to!r} and is not: this checkpoint does not tie them")
        error.rule = rule
        raise error
