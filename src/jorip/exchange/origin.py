"""What a checkpoint says beside its weights, kept with the model so that it can be written back.

In a folder of ours it is `origin.json`, beside the tokenizer's files and `generation_config.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from jorip.core.errors import CheckpointError
from jorip.exchange.generation import read_generation
from jorip.exchange.shards import inside, small_json

ORIGIN = "origin.json"
# What a tokenizer is made of, in all the forms that transformers has had.
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "chat_template.jinja",
    "chat_template.json",
)  # fmt: skip


@dataclass
class Origin:
    """family, head: whose config it was; ids: special tokens (bos, eos, pad, decoder_start ...); labels: names of a
    classifier's classes; folder: where the tokenizer lies (None: nowhere); config: their config.json; generation:
    their generation_config.json; source: what was loaded, `hf:org/name@commit` or a path; prefixed: their keys had the
    family's prefix; lines: the load report, account: the same as plain values; unread: weights that their class has
    and never reads, written back as they were.

    ids, labels and generation may be changed: `jorip.save(format="hf")` writes them as they are then."""

    family: str
    head: str
    ids: dict[str, int | list[int] | None] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    folder: Path | None = None
    lines: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    generation: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    prefixed: bool = True
    account: dict[str, Any] = field(default_factory=dict)
    unread: dict[str, Tensor] = field(default_factory=dict)

    @property
    def report(self) -> str:
        """What became of every field and every key."""
        return "\n".join(self.lines)

    @classmethod
    def of(cls, family: str, head: str, config: Mapping[str, Any], folder: Path, source: str = "") -> Origin:
        """From a config and the files beside it."""
        generation = read_generation(folder)
        return cls(
            family, head, special_ids(config), labels(config), folder, [], dict(config), generation,
            source or str(folder),
        )  # fmt: skip

    def told(self) -> dict[str, Any]:
        """The fields of a config that ids and labels are."""
        fields: dict[str, Any] = {f"{name}_token_id": value for name, value in self.ids.items()}
        if self.labels:
            fields["id2label"] = {str(i): n for i, n in enumerate(self.labels)}
            fields["label2id"] = {n: i for i, n in enumerate(self.labels)}
        return fields

    def said(self) -> dict[str, Any]:
        """The config, with ids and labels as they are now."""
        ids = {f"{name}_token_id" for name in special_ids(self.config)} - {f"{name}_token_id" for name in self.ids}
        gone = ids | (set() if self.labels else {"id2label", "label2id"})
        return {k: v for k, v in self.config.items() if k not in gone} | self.told()

    def to_dict(self) -> dict[str, Any]:
        """For `origin.json`; `read_origin` is the inverse."""
        names = ("family", "head", "source", "prefixed")
        return {name: getattr(self, name) for name in names} | {"config": self.said()}

    @property
    def files(self) -> list[Path]:
        """The tokenizer's files. Raises CheckpointError when the folder is gone, rather than saving without them."""
        if self.folder is None:
            return []
        if not self.folder.is_dir():
            raise CheckpointError(
                f"{self.folder}: this model's tokenizer was here, and the folder is gone: put it back, or set "
                "model.origin.folder to where the tokenizer is now, or to None to save without one"
            )
        return tokenizer_files(self.folder)


def tokenizer_files(folder: Path) -> list[Path]:
    return [inside(folder, name) for name in TOKENIZER if (folder / name).is_file()]


def read_origin(folder: Path) -> Origin | None:
    """Of a folder of ours; None where it never was somebody else's. Raises CheckpointError for a damaged one."""
    path = folder / ORIGIN
    if not path.is_file():
        return None
    tree = small_json(path)
    wanted = {"family": str, "head": str, "source": str, "prefixed": bool, "config": dict}
    if not isinstance(tree, dict) or any(not isinstance(tree.get(n), kind) for n, kind in wanted.items()):
        raise CheckpointError(f"{path}: damaged: it must have {', '.join(wanted)}: remove it to load without it")
    origin = Origin.of(tree["family"], tree["head"], tree["config"], folder, tree["source"])
    origin.prefixed = tree["prefixed"]
    origin.lines = [f"converted from {origin.source}: {origin.family}, {origin.head}"]
    origin.account = {"family": origin.family, "head": origin.head, "source": origin.source}
    return origin


def readout_of(spec: Any) -> Any:
    """The readout's spec, of an encoder-decoder its decoder's; None where there is none."""
    return getattr(getattr(spec, "decoder", spec), "readout", None)


def special_ids(values: Mapping[str, Any]) -> dict[str, Any]:
    """bos, eos, pad, decoder_start ...: what `<name>_token_id` says."""
    return {k.removesuffix("_token_id"): v for k, v in values.items() if k.endswith("_token_id") and v is not None}


def labels(values: Mapping[str, Any]) -> list[str]:
    """Of a classifier's classes, in order; none where they are not named."""
    names = values.get("id2label")
    if not isinstance(names, Mapping):
        return []
    return [str(names.get(str(i), f"LABEL_{i}")) for i in range(len(names))]
