"""How a family of checkpoints is written: a table from the fields of its `config.json` to paths of our spec, and the
rules for its weights (`core/weights`), both read in both directions.

A family is one object in its recipe's file. Reading: every field of a config is taken by the table or is an error.
Writing: the config that the table writes must read back as the same spec, so that nothing is ever saved as almost the
same model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jorip.architectures.base import Architecture
from jorip.core.errors import CheckpointError, JoripError, did_you_mean
from jorip.core.spec import flatten
from jorip.core.weights import Rules
from jorip.parts.readout.base import Readout
from jorip.recipes.fields import HOUSEKEEPING, REQUIRED, At, Config, Fields, Only, Unused, get, short

__all__ = ["HOUSEKEEPING", "At", "Config", "Family", "Head", "NotOurs", "Only", "Unused", "get"]

Head = Callable[[Config], Readout | None]
_OTHER = 100  # distance of an encoder from a decoder
_SIZES = ("d_ff", "n_kv_heads", "head_dim")  # None = worked out from the others


class NotOurs(CheckpointError):
    """A family has no such model. `lines` say what differs from its closest, or why there is none at all; `distance`
    compares families: parts of another kind are further away than other numbers."""

    def __init__(self, family: str, head: str, lines: list[str], distance: int):
        self.family, self.head, self.lines, self.distance = family, head, lines, distance
        shown = lines[:8] + ([f"and {len(lines) - 8} more"] if len(lines) > 8 else [])
        super().__init__(f"this model is not a {family} ({head}):\n  " + "\n  ".join(shown))


@dataclass(frozen=True)
class Family:
    """model_type: their name. base: a spec to start from. fields: the table. heads: their class -> our readout, the
    class without a head included. rules: spec -> table of weights. adjust: what no table can say, (spec, config) ->
    spec; describe: its inverse, (spec) -> fields, over those of the table. readout: the path of the readout. quirks:
    where transformers differs from the paper, and its folders are matched."""

    model_type: str
    base: Callable[[], Architecture]
    fields: Fields
    heads: Mapping[str, Head]
    rules: Callable[[Any], Rules]
    adjust: Callable[[Any, Config], Architecture] | None = None
    describe: Callable[[Any], dict[str, Any]] | None = None
    readout: str = "readout"
    quirks: tuple[str, ...] = field(default=())

    def read(self, config: Config, head: str) -> Architecture:
        """The spec of a config. Raises CheckpointError for fields and values that are not known or cannot be, with a
        prediction of the memory where a size is absurd."""
        if head not in self.heads:
            raise CheckpointError(
                f"{config.where}: {self.model_type} has no head {head!r}{did_you_mean(head, self.heads)}"
            )
        changes: dict[str, Any] = {}
        try:
            for name, rule in self.fields.items():
                changes |= rule.read(name, config)
            spec = self.base().override(changes | {self.readout: self.heads[head](config)})
            spec = spec if self.adjust is None else self.adjust(spec, config)
        except (CheckpointError, MemoryError):
            raise
        except JoripError as e:
            raise CheckpointError(f"{config.where}: {self.blame(config) or e}{predicted(changes)}") from None
        except Exception as e:  # what a recipe meets in values that nobody should have written
            raise CheckpointError(
                f"{config.where}: no {self.model_type} can be made of this config ({type(e).__name__}: {short(str(e))})"
            ) from None
        config.finish(self.fields)
        return spec

    def blame(self, config: Config) -> str:
        """The first field whose value our spec refuses by itself, with the reason."""
        base = self.base()
        for name, rule in self.fields.items():
            changes = rule.read(name, config)
            try:
                base.override(changes)
            except JoripError as e:
                value = config.values.get(name, "missing")
                return f"{name}: {short(value)}: " + str(e).partition(", found ")[0].splitlines()[0]
        return ""

    def write(self, spec: Architecture, n_labels: int | None = None) -> tuple[dict[str, Any], str]:
        """Their config and head for our spec. n_labels: of a classifier, None = the readout's own. Raises NotOurs when
        they have no such model, saying what differs."""
        other = _OTHER if type(self.base()) is not type(spec) else 0
        try:
            fields = {name: rule.write(spec) for name, rule in self.fields.items()}
            fields = {name: value for name, value in fields.items() if value is not REQUIRED}
            fields |= self.describe(spec) if self.describe is not None else {}
        except JoripError as e:
            raise NotOurs(self.model_type, next(iter(self.heads)), str(e).splitlines(), other + 2) from None
        except Exception:  # a table is made for its own specs; others may lack whatever it looks at
            why = f"{self.model_type} is another kind of model"
            raise NotOurs(self.model_type, next(iter(self.heads)), [why], 2 * _OTHER) from None
        if n := getattr(get(spec, self.readout), "n_classes", n_labels):
            fields["id2label"] = {str(i): f"LABEL_{i}" for i in range(n)}
        reasons = []
        for head in self.heads:
            lines, distance = self.differs(spec, fields, head)
            if not lines:
                return fields | {"model_type": self.model_type, "architectures": [head]}, head
            reasons.append(NotOurs(self.model_type, head, lines, other + distance))
        raise min(reasons, key=lambda e: e.distance)

    def differs(self, spec: Architecture, fields: Mapping[str, Any], head: str) -> tuple[list[str], int]:
        """What keeps these fields from meaning this spec, and how far away it is: nothing when they do mean it. How
        weights begin is not compared: a checkpoint need not say it."""
        try:
            theirs = self.read(Config(fields, self.model_type), head)
        except CheckpointError as e:
            return str(e).removeprefix(f"{self.model_type}: ").splitlines(), 5
        theirs, ours = theirs.override({"**.init": spec.init}), spec.override({"**.init": spec.init})
        lines, distance = differences(theirs, ours)
        return ([], 0) if lines and same_sizes(theirs, ours) else (lines, distance)


def differences(theirs: Architecture, ours: Architecture) -> tuple[list[str], int]:
    """One line per path whose value differs, without the fields of parts that are of different kinds; and how much:
    1 for a value, 3 for a part."""
    if theirs == ours:
        return [], 0
    unrolled = any(".blocks." in f".{path}" for spec in (theirs, ours) for path in flatten(spec))
    a, b = ({"": s.kind} | flatten(s, unrolled=unrolled) for s in (theirs, ours))
    lines, above, distance = [], [], 0
    for path in dict.fromkeys([*a, *b]):
        x, y = a.get(path), b.get(path)
        if x != y and not any(path.startswith(p) for p in above):
            above.append(f"{path}." if path else "")
            lines.append(f"{path or 'architecture'}: {x} there, {y} here")
            distance += 3 if any(other.startswith(above[-1]) for other in (*a, *b)) else 1
    return lines, distance


def same_sizes(theirs: Architecture, ours: Architecture) -> bool:
    """Whether they differ only in sizes that one of them leaves to its parts (d_ff None, say), and these are the same:
    every weight has the same shape."""
    a, b = flatten(theirs, unrolled=True), flatten(ours, unrolled=True)
    if a.keys() != b.keys():
        return False
    for path in a:
        if a[path] != b[path] and not (path.rpartition(".")[2] in _SIZES and None in (a[path], b[path])):
            return False
    shapes = [{n: p.shape for n, p in s.build(device="meta").named_parameters()} for s in (theirs, ours)]
    return shapes[0] == shapes[1]


def least(sizes: Mapping[str, Any]) -> int:
    """How many parameters a model of these sizes (path -> value) has at the least: its embedding, and four square
    matrices in every layer. 0 where a size is not known."""
    found = {}
    for name in ("vocab_size", "d_model", "n_layers"):
        values = [v for path, v in sizes.items() if path.rpartition(".")[2] == name and type(v) is int and v > 0]
        found[name] = min(max(values, default=0), 10**30)
    d = found["d_model"]
    return found["vocab_size"] * d + 4 * found["n_layers"] * d * d if all(found.values()) else 0


def predicted(sizes: Mapping[str, Any]) -> str:
    """What so many take, where it is much."""
    n = least(sizes)
    text = f"; a model of these sizes has at least {n:.2g} parameters, {4 * n / 1e9:.2g} GB in float32"
    return text if n >= 2**30 else ""
