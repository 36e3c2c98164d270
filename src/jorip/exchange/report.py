"""The load report: what became of every field of a config and of every key of its weights, what was read from where."""

from __future__ import annotations

from typing import Any

from torch import nn

from jorip.core.weights import Account
from jorip.exchange.shards import Shards
from jorip.recipes.family import HOUSEKEEPING, Config, Family
from jorip.recipes.fields import short

# What is kept of the housekeeping: it comes back when the model is saved.
_KEPT = "kept beside the model"


def account(
    kind: Family, head: str, config: Config, weights: Shards, rules: Account, model: nn.Module
) -> dict[str, Any]:
    """Plain values, for JSON."""
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "family": kind.model_type,
        "head": head,
        "config": config.where,
        "fields": fields(kind, config),
        "files": {f.path.name: f.nbytes for f in weights.opened},
        "tensors": len(weights),
        "bytes": weights.nbytes,
        "dtypes": {str(t).removeprefix("torch."): n for t, n in weights.dtypes.items()},
        "keys": [
            {"theirs": name, "keys": len(keys), "done": done, "ours": list(ours)}
            for name, (done, ours, keys) in rules.rows.items()
            if keys
        ],
        "parameters": parameters,
        "quirks": list(kind.quirks),
    }


def fields(kind: Family, config: Config) -> list[dict[str, Any]]:
    """Every field: its value, what became of it, and whether it was missing and assumed."""
    rows = []
    for name in sorted({*config.values, *config.assumed} - {"architectures", "model_type"}):
        rule = kind.fields.get(name)
        became = rule.became if rule is not None else _KEPT if name in HOUSEKEEPING else "read by the recipe"
        missing = name not in config.values
        value = config.assumed[name] if missing else config.values[name]
        rows.append({"name": name, "value": short(value, 40), "became": became, "missing": missing})
    return rows


def lines(found: dict[str, Any], source: str) -> list[str]:
    """For people."""
    text = [f"{source}: {found['family']}, {found['head']}", ""]
    text += table([(f["name"], f["value"], f["became"]) for f in found["fields"] if used(f)], "config.json")
    if kept := [f["name"] for f in found["fields"] if f["became"] == _KEPT]:
        text += wrapped("  kept beside the model: ", kept)
    if assumed := [f"{f['name']} {f['value']}" for f in found["fields"] if f["missing"]]:
        text += wrapped("  not in the file, so the family's own: ", assumed)
    dtypes = ", ".join(found["dtypes"])
    files = ", ".join(found["files"]) if len(found["files"]) < 4 else f"{len(found['files'])} shards"
    head = f"{files}: {found['tensors']} tensors, {size(found['bytes'])}, {dtypes}"
    text += ["", *table([(k["theirs"], str(k["keys"]), became(k)) for k in found["keys"]], head)]
    text += ["", f"{found['parameters']:,} parameters"]
    text += [f"note: {q}" for q in found["quirks"]]
    return text


def used(f: dict[str, Any]) -> bool:
    return f["became"] != _KEPT and not f["missing"]


def became(key: dict[str, Any]) -> str:
    if not key["ours"]:
        return key["done"]
    ours = ", ".join(key["ours"])
    return (
        f"{key['done']} {ours}"
        if key["done"].startswith("tied")
        else f"-> {ours}" + (f" ({key['done']})" if key["done"] else "")
    )


def table(rows: list[tuple[str, str, str]], head: str) -> list[str]:
    """Three columns as wide as they need to be."""
    wide = [max((len(r[i]) for r in rows), default=0) for i in range(2)]
    return [head, *(f"  {a:<{wide[0]}}  {b:<{wide[1]}}  {c}".rstrip() for a, b, c in rows)]


def wrapped(head: str, words: list[str], width: int = 110) -> list[str]:
    """Words after a head, in lines."""
    found, line = [], head
    for i, word in enumerate(words):
        word += "," if i < len(words) - 1 else ""
        if len(line) + len(word) > width:
            found.append(line.rstrip())
            line = "    "
        line += word + " "
    return [*found, line.rstrip()]


def size(n: float) -> str:
    """Bytes for people: 497.8 MB as disks count, not MiB."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if n < 1000 or unit == "TB":
            return f"{n:,.0f} bytes" if unit == "bytes" else f"{n:,.1f} {unit}"
        n /= 1000
    return ""
