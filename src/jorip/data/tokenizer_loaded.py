"""The tokenizer of a loaded checkpoint: somebody else's vocabulary, rules and special tokens.

It gives the ids, spans and texts that transformers gives for the same files, with one difference by default: a special
token that a text spells out is plain text (transformers' `split_special_tokens`), unless `allow_specials` is set.
How it is made from a Hugging Face folder: exchange/tokenizers.py. This file knows it ready made, as a tokenizer.json
beside a tokenizer_config.json that names the special tokens.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jorip.core.errors import CheckpointError
from jorip.core.strict_json import loads
from jorip.data.tokenizer_template import Template, read_template
from jorip.data.tokenizers import CHUNK, LARGEST, Tokenizer

CONFIG = "tokenizer_config.json"
# what may lie beside tokenizer.json and is kept with it, word for word
SIDE_FILES = (CONFIG, "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json")
NAMES = ("unk", "bos", "eos", "cls", "sep", "mask", "pad")
MARK = "saved_by"  # in the config: tokenizer.json is to be taken as it stands
# transformers' rules for the spaces that splitting at punctuation leaves
_SPACES = {" .": ".", " ?": "?", " !": "!", " ,": ",", " ' ": "'", " n't": "n't", " 'm": "'m", " 's": "'s",
           " 've": "'ve", " 're": "'re"}  # fmt: skip
_KINDS = {"Unigram": "unigram", "WordPiece": "wordpiece", "WordLevel": "words"}


class LoadedTokenizer(Tokenizer):
    """kind: bpe (of bytes), pieces (other byte pair encodings), unigram, wordpiece, words.

    vocab_size is the largest id + 1, so that a table of that many rows has one for every token. notes: what a person
    should know about how the files were read.
    """

    own = False

    def __init__(self, inner: Any, files: Mapping[str, str], notes: Sequence[str] = ()) -> None:
        self.inner, self.files, self.notes = inner, dict(files), list(notes)
        inner.no_truncation()
        inner.no_padding()
        inner.encode_special_tokens = True
        self._bytes = of_bytes(inner)
        model = type(inner.model).__name__
        self.kind = _KINDS[model] if model != "BPE" else "bpe" if self._bytes else "pieces"
        self.config: dict[str, Any] = mapping(self.files, CONFIG)
        named = {n: content(self.config.get(f"{n}_token")) for n in NAMES}
        for name, token in named.items():
            setattr(self, name, None if token is None else inner.token_to_id(token))
        self.vocab_size = 1 + max(inner.get_vocab().values(), default=-1)
        self.specials = {t.content: i for i, t in inner.get_added_tokens_decoder().items() if t.special}
        self.single, self.pair = templates(inner)
        self.source = self.single
        clean = self.config.get("clean_up_tokenization_spaces") and model != "BPE"
        self._spaces = _SPACES if clean else {}
        self._words: dict[str, list[int]] = {}

    @staticmethod
    def saved(inner: Any, files: Mapping[str, str], where: str) -> "LoadedTokenizer":
        """As `save` wrote it. Raises CheckpointError for other folders, whose config has to be heeded first."""
        if MARK not in mapping(files, CONFIG, str(Path(where).parent)):
            raise CheckpointError(
                f"{where}: ids 0 to 5 are not the special tokens of jorip's tokenizers: open the tokenizer of a "
                "Hugging Face folder with jorip.load_tokenizer"
            )
        return LoadedTokenizer(inner, files)

    def __getstate__(self) -> dict[str, Any]:
        return {"json": self.inner.to_str(), "files": self.files, "notes": self.notes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from tokenizers import Tokenizer as Inner

        self.__init__(Inner.from_str(state["json"]), state["files"], state["notes"])

    @property
    def fingerprint(self) -> str:
        """sha256 of the tokenizer's JSON and its config. Scores count to four digits: reading a file can change the
        last ones."""
        text = self.inner.to_str()
        if self.kind == "unigram":
            state = json.loads(text)
            state["model"]["vocab"] = [(token, round(score, 4)) for token, score in state["model"]["vocab"]]
            text = json.dumps(state, sort_keys=True)
        config = {k: v for k, v in self.config.items() if k != MARK}
        return hashlib.sha256((text + json.dumps(config, sort_keys=True)).encode()).hexdigest()

    def normalize(self, text: str) -> str:
        """What is left of a text: `decode(encode(text))`."""
        return self.decode(self.encode(text))

    def encode_batch(self, texts: Sequence[str], allow_specials: bool = False) -> list[list[int]]:
        found = []
        with _Specials(self.inner, allow_specials):
            for i in range(0, len(texts), CHUNK):
                part = [_clean(t) for t in texts[i : i + CHUNK]]
                found += [e.ids for e in self.inner.encode_batch_fast(part, add_special_tokens=False)]
        return found

    def encode_offsets(self, text: str, allow_specials: bool = False) -> tuple[list[int], list[tuple[int, int]]]:
        with _Specials(self.inner, allow_specials):
            found = self.inner.encode(_clean(text), add_special_tokens=False)
        return found.ids, found.offsets

    def encode_stream(self, texts: Iterable[str], end: int | None = None) -> Tensor:
        tail = [] if end is None else [end]
        parts = [np.zeros(0, np.int64)]
        texts = iter(texts)
        while some := list(islice(texts, CHUNK)):
            ids = chain.from_iterable([*i, *tail] for i in self.encode_batch(some))
            parts.append(np.fromiter(ids, dtype=np.int64))
        return torch.from_numpy(np.concatenate(parts))

    def _word(self, word: str) -> list[int]:
        """As transformers reads words (`is_split_into_words`), but never without a token."""
        word = " " + word if self._bytes else word
        ids = self.inner.encode([_clean(word)], is_pretokenized=True, add_special_tokens=False).ids
        stand_in = next((i for i in (self.unk, self.mask, self.pad, self.eos) if i is not None), 0)
        return ids or [stand_in]

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """As transformers decodes: special tokens (an unknown one is one, too) are left out, or spelled."""
        text = self.inner.decode([int(i) for i in ids], skip_special_tokens=skip_special)
        for space, short in self._spaces.items():
            text = text.replace(space, short)
        return text

    def pieces(self, ids: Iterable[int]) -> list[str]:
        ids = [int(i) for i in ids]
        return [self.decode([i], skip_special=False) or self.inner.id_to_token(i) or "" for i in ids]

    def save(self, path: Path | str) -> Path:
        """Writes tokenizer.json and the files that came with it; transformers' AutoTokenizer opens the folder with the
        same ids. `path` is the file or its folder."""
        path = super().save(path)
        for name, text in self.files.items():
            (path.parent / name).write_text(text, encoding="utf-8")
        config = json.dumps(self.config | {MARK: "jorip"}, ensure_ascii=False, indent=2) + "\n"
        (path.parent / CONFIG).write_text(config, encoding="utf-8")
        return path


class _Specials:
    """For the time of a call, special tokens in texts are (not) special."""

    def __init__(self, inner: Any, allowed: bool) -> None:
        self.inner, self.allowed = inner, allowed

    def __enter__(self) -> None:
        if self.allowed:
            self.inner.encode_special_tokens = False

    def __exit__(self, *_: object) -> None:
        if self.allowed:
            self.inner.encode_special_tokens = True


def templates(inner: Any) -> tuple[Template, Template]:
    """Of one text and of two, read off an encoded example: the library has many ways to write them.

    Raises CheckpointError when a text is there twice or not at all.
    """
    usual = (t for t in "a0.가 " if inner.encode(t, add_special_tokens=False).ids)
    others = (t for t in inner.get_vocab() if inner.encode(t, add_special_tokens=False).ids)
    text = next(usual, None) or next(others, "")
    found = []
    for example in (inner.encode(text), inner.encode(text, text)):
        # the library forgets which text a token is of when it is there twice, but not that it is no special token
        kinds = [
            s if s is not None or special else 2
            for s, special in zip(example.sequence_ids, example.special_tokens_mask)
        ]
        try:
            found.append(read_template(example.type_ids, kinds, example.ids))
        except ValueError as e:
            raise CheckpointError(f"tokenizer: its post-processor cannot be used: {e}") from None
    return found[0], found[1]


def side_files(folder: Path) -> dict[str, str]:
    """The texts of those that are there. Raises CheckpointError for one that cannot be read."""
    found = {}
    for name in SIDE_FILES:
        if (folder / name).is_file():
            try:
                if (size := (folder / name).stat().st_size) > LARGEST // 16:
                    raise CheckpointError(f"{folder / name}: {size / 2**20:.0f} MiB is too large")
                found[name] = (folder / name).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as e:
                raise CheckpointError(f"{folder / name}: cannot be read ({e})") from None
    return found


def mapping(files: Mapping[str, str], name: str, where: str = "") -> dict[str, Any]:
    """One of the JSON files that lie together, by their texts; empty when it is not there. where: their folder, for the
    CheckpointError of a damaged one."""
    try:
        found = loads(files.get(name, "{}").encode())
    except ValueError as e:
        raise CheckpointError(f"{Path(where) / name}: damaged: not valid JSON ({e})") from None
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise CheckpointError(f"{Path(where) / name}: damaged: a mapping is expected, found {kind}")
    return found


def content(token: Any) -> str | None:
    """A special token is written as its text, or as a mapping with it."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None


def _clean(text: str) -> str:
    """Half a surrogate pair, which is no character, cannot be given to the library."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def shown(step: Any) -> str:
    """A step of a tokenizer's pipeline as JSON."""
    return "null" if step is None else step.__getstate__().decode()


def of_bytes(inner: Any) -> bool:
    """Whether its tokens are made of bytes rather than characters."""
    return '"ByteLevel"' in shown(inner.pre_tokenizer) + shown(inner.decoder)
