"""The vocabulary of a Hugging Face folder, from whichever of its files holds one; nothing is taken on trust."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jorip.core.errors import CheckpointError
from jorip.core.strict_json import loads
from jorip.data.tokenizers import parse, read

JSON, WORDPIECE, VOCAB, MERGES = "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt"
SENTENCEPIECE = ("spiece.model", "tokenizer.model", "spm.model", "sentencepiece.bpe.model")
_SHOWN = 3


@dataclass
class Pieces:
    """kind: WordPiece, BPE, Unigram, WordLevel. vocab: token -> id, for Unigram (token, score) in order. added: special
    and other added tokens, as mappings. charsmap: SentencePiece's normalisation. whole: a tokenizer.json as it
    stands, parsed."""

    kind: str
    vocab: dict[str, int] | list[tuple[str, float]]
    where: Path
    merges: list[tuple[str, str]] = field(default_factory=list)
    added: list[dict[str, Any]] = field(default_factory=list)
    charsmap: bytes | None = None
    whole: Any = None

    @property
    def ids(self) -> dict[str, int]:
        """The vocabulary of every kind but Unigram."""
        assert isinstance(self.vocab, dict), self.kind
        return self.vocab

    @property
    def scores(self) -> list[tuple[str, float]]:
        """The vocabulary of Unigram, in order."""
        assert isinstance(self.vocab, list), self.kind
        return self.vocab

    def has(self, token: str) -> bool:
        if isinstance(self.vocab, dict):
            return token in self.vocab
        return any(token == t for t, _ in self.vocab)


def from_json(path: Path, inner: Any) -> Pieces:
    """inner: the file, parsed by `tokenizers`; written out again, it has all fields in their newest form."""
    state = json.loads(inner.to_str())
    model, normalizer = state["model"], state["normalizer"] or {}
    vocab, merges = model["vocab"], model.get("merges", ())
    if isinstance(vocab, list):
        vocab = [(token, score) for token, score in vocab]
    pairs = [(left, right) for left, right in (m.split(" ", 1) if isinstance(m, str) else m for m in merges)]
    steps = [normalizer, *normalizer.get("normalizers", ())]
    maps = [s["precompiled_charsmap"] for s in steps if s.get("type") == "Precompiled"]
    charsmap = base64.b64decode(maps[0]) if maps and maps[0] else None
    return Pieces(model["type"], vocab, path, pairs, state["added_tokens"], charsmap, inner)


def from_vocab_txt(path: Path) -> Pieces:
    """One token a line. Raises CheckpointError for a token that is there twice."""
    lines = read(path).split("\n")
    tokens = [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
    vocab = {token: i for i, token in enumerate(tokens)}
    if len(vocab) < len(tokens):
        first: dict[str, int] = {}
        twice = [(t, 1 + first[t], 1 + i) for i, t in enumerate(tokens) if first.setdefault(t, i) != i]
        shown = "; ".join(f"{t!r} in lines {a} and {b}" for t, a, b in twice[:_SHOWN])
        raise CheckpointError(f"{path}: {len(twice)} tokens are there twice, so that ids are ambiguous: {shown}")
    if not tokens:
        raise CheckpointError(f"{path}: has no tokens")
    return Pieces("WordPiece", vocab, path)


def from_vocab_json(folder: Path) -> Pieces:
    """vocab.json and merges.txt: byte pairs."""
    found = [name for name in (VOCAB, MERGES) if (folder / name).is_file()]
    if len(found) == 1:
        other = MERGES if found[0] == VOCAB else VOCAB
        raise CheckpointError(f"{folder}: has {found[0]} but no {other}: byte pairs need both")
    path = folder / VOCAB
    try:
        vocab = loads(read(path).encode())
    except ValueError as e:
        if isinstance(e, CheckpointError):
            raise
        raise CheckpointError(f"{path}: damaged: not valid JSON ({e})") from None
    if not isinstance(vocab, dict) or not vocab or not all(type(i) is int and i >= 0 for i in vocab.values()):
        raise CheckpointError(f"{path}: damaged: a mapping of tokens to ids (0, 1, 2 ...) is expected")
    if len(set(vocab.values())) < len(vocab):
        raise CheckpointError(f"{path}: damaged: {len(vocab)} tokens have {len(set(vocab.values()))} different ids")
    return Pieces("BPE", vocab, path, merges(folder / MERGES, vocab))


def merges(path: Path, vocab: dict[str, int]) -> list[tuple[str, str]]:
    """One pair a line, the most important first."""
    found = []
    for number, line in enumerate(read(path).split("\n"), 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = tuple(line.split(" "))
        if len(pair) != 2 or not all(pair):
            raise CheckpointError(f"{path}, line {number}: a merge is two tokens with a space between, found {line!r}")
        for token in (*pair, "".join(pair)):
            if token not in vocab:
                raise CheckpointError(f"{path}, line {number}: {token!r} is not in {VOCAB}: are both of one model?")
        found.append(pair)
    return found


def from_files(folder: Path, kinds: Sequence[str]) -> Pieces:
    """kinds: what kinds of vocabulary will do; the first that is there. Raises CheckpointError naming what was looked
    for when there is none."""
    from jorip.exchange.tokenizer_sentencepiece import from_sentencepiece

    looked: list[str] = [JSON]
    for kind in kinds:
        if kind == "WordPiece":
            looked.append(WORDPIECE)
            if (folder / WORDPIECE).is_file():
                return from_vocab_txt(folder / WORDPIECE)
        elif kind == "BPE":
            looked.append(f"{VOCAB} with {MERGES}")
            if any((folder / name).is_file() for name in (VOCAB, MERGES)):
                return from_vocab_json(folder)
        else:
            looked += SENTENCEPIECE
            for name in SENTENCEPIECE:
                if (folder / name).is_file():
                    return from_sentencepiece(folder / name)
    there = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
    raise CheckpointError(f"{folder}: holds no tokenizer: looked for {', '.join(looked)}; there is {there}")


def open_json(folder: Path) -> Any:
    """The folder's tokenizer.json as a `tokenizers.Tokenizer`; None when there is none."""
    path = folder / JSON
    return parse(path, read(path)) if path.is_file() else None
