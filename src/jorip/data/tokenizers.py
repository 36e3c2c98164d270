"""Tokenizers: text to ids and back, trained on the user's data, kept in one self-contained tokenizer.json.

The six special tokens have the same ids in every tokenizer of ours, and no text can spell them: `<eos>` in somebody's
data is five characters. Training lies in data/tokenizer_training.py, tokenizers of loaded checkpoints in
data/tokenizer_loaded.py.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from jorip.core.errors import CheckpointError
from jorip.data.tokenizer_template import A, B, Template

SPECIALS = ("<unk>", "<bos>", "<eos>", "<cls>", "<sep>", "<mask>")
UNK, BOS, EOS, CLS, SEP, MASK = range(6)
UNKNOWN = "\ufffd"  # what an unknown token reads as
CHUNK = 8192  # texts encoded at once: the library's results take far more memory than the ids
LARGEST = 256 << 20  # bytes of a file: ten times the largest vocabularies in use
_SPELLED = re.compile("(" + "|".join(map(re.escape, SPECIALS)) + ")")


class TokenizerSpec(BaseModel, frozen=True, extra="forbid", strict=True):
    """How to make a tokenizer.

    kind           character: one token a character, line ends included (unknown characters become <unk>).
                   byte: 256 tokens, never <unk>; Hangul takes three a syllable.
                   bpe: byte pairs within words, never <unk>. unigram: likeliest pieces, bytes for rare characters,
                   never <unk>; slower to train. wordpiece: pieces of words; spaces are not kept. words: whole words.
    vocab_size     with special tokens; an upper limit. None: 8,000 for bpe, unigram and wordpiece, all for others.
    lowercase      A to a; what was a capital is lost.
    min_frequency  what is seen less often gets no token. None: 1 for character, 2 for others (so that <unk>, where
                   there is one, is seen in training).
    normalize      nfc (Hangul in letters, as macOS makes it, becomes syllables), nfkc (also full-width letters), none.
    """

    kind: Literal["character", "byte", "wordpiece", "bpe", "unigram", "words"] = "bpe"
    vocab_size: Annotated[int, Field(ge=7)] | None = None
    lowercase: bool = False
    min_frequency: Annotated[int, Field(ge=1)] | None = None
    normalize: Literal["nfc", "nfkc", "none"] = "nfc"


def train_tokenizer(spec: TokenizerSpec, texts: Iterable[str | list[str]]) -> "Tokenizer":
    """Texts may come as their list of words (tagging). The same texts give the same tokenizer, byte for byte.

    DataError when there is no text; ConfigError when vocab_size is too small for the kind.
    """
    from jorip.data.tokenizer_training import train

    return Tokenizer(train(spec, texts))


class Tokenizer:
    """Wraps a `tokenizers.Tokenizer`. Picklable; `tokenizer.kind` as in the spec.

    unk, bos, eos, cls, sep, mask, pad: ids of special tokens, None for those that a tokenizer lacks (ours have no pad:
    batches are packed). single, pair, source: the templates of one text, two texts, and an encoder-decoder's source.
    own: trained by jorip, rather than loaded with a checkpoint (`LoadedTokenizer`).
    """

    own = True
    single = Template(((CLS, 0), (A, 0), (SEP, 0)))
    pair = Template(((CLS, 0), (A, 0), (SEP, 0), (B, 1), (SEP, 1)))
    source = Template(((A, 0), (EOS, 0)))
    pad: int | None = None

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        inner.no_padding()
        inner.no_truncation()
        inner.encode_special_tokens = True  # a special token spelled out in a text is text
        state = json.loads(inner.to_str())
        self.kind = _kind(state)
        steps = [] if state["normalizer"] is None else state["normalizer"].get("normalizers", [state["normalizer"]])
        self._form: Any = next((s["type"] for s in steps if s["type"] in {"NFC", "NFKC"}), "")
        self._lower = any(s["type"] == "Lowercase" for s in steps)
        if not is_own(inner):
            raise CheckpointError(f"tokenizer: ids 0 to 5 must be {', '.join(SPECIALS)}; found other tokens")
        self.vocab_size: int = inner.get_vocab_size()
        self.unk, self.bos, self.eos, self.cls, self.sep, self.mask = range(6)
        self._table = _table(inner) if self.kind == "character" else None
        self._words: dict[str, list[int]] = {}

    def __getstate__(self) -> dict[str, str]:
        return {"json": self.inner.to_str()}

    def __setstate__(self, state: dict[str, str]) -> None:
        from tokenizers import Tokenizer as Inner

        self.__init__(Inner.from_str(state["json"]))

    def __len__(self) -> int:
        return self.vocab_size

    @property
    def fingerprint(self) -> str:
        """sha256 of the tokenizer's JSON."""
        return hashlib.sha256(self.inner.to_str().encode()).hexdigest()

    # text -> ids

    def normalize(self, text: str) -> str:
        """What `decode(encode(text))` gives back for character, byte, bpe and unigram."""
        if self._form and not unicodedata.is_normalized(self._form, text):
            text = unicodedata.normalize(self._form, text)
        if self._lower:
            from tokenizers.normalizers import Lowercase

            text = Lowercase().normalize_str(text)
        return text

    def encode(self, text: str, allow_specials: bool = False) -> list[int]:
        """Ids without special tokens around them.

        allow_specials: a special token that the text spells (`<mask>`) is that token. By default it is plain text:
        somebody's data must not end a sequence.
        """
        return self.encode_batch([text], allow_specials)[0]

    def encode_batch(self, texts: Sequence[str], allow_specials: bool = False) -> list[list[int]]:
        if allow_specials:
            return [self.encode_offsets(t, allow_specials)[0] for t in texts]
        if self.kind in {"character", "byte"}:
            return [self._points(self.normalize(t)).tolist() for t in texts]
        found = []
        for i in range(0, len(texts), CHUNK):
            part = [self.normalize(t) for t in texts[i : i + CHUNK]]
            found += [e.ids for e in self.inner.encode_batch_fast(part, add_special_tokens=False)]
        return found

    def with_specials(self, a: Sequence[int], b: Sequence[int] | None = None) -> tuple[list[int], list[int]]:
        """Ids and segment ids of one text, or of a pair, between the special tokens that the model expects."""
        return self.single.fill(a) if b is None else self.pair.fill(a, b)

    def encode_offsets(self, text: str, allow_specials: bool = False) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids as `encode` gives them, and each token's characters in the text: text[start:end]."""
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        at = 0
        for part in _SPELLED.split(text) if allow_specials else [text]:
            if allow_specials and part in SPECIALS:
                ids.append(SPECIALS.index(part))
                spans.append((at, at + len(part)))
            else:
                found = self.inner.encode(part, add_special_tokens=False)
                ids += found.ids
                spans += [(at + start, at + end) for start, end in self._whole(part, found.offsets)]
            at += len(part)
        return ids, spans

    def _whole(self, text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """For a letter that was put together the library names its first part only: up to the next token here."""
        if not self._form or unicodedata.is_normalized(self._form, text):
            return spans
        found, follows, last = [], len(text), len(text)
        for start, end in reversed(spans):
            follows = last if start < last else follows
            gap = text[end:follows]
            found.append((start, end + len(gap.split(maxsplit=1)[0]) if gap.strip() and not gap[0].isspace() else end))
            last = start
        return found[::-1]

    def encode_stream(self, texts: Iterable[str], end: int | None = None) -> Tensor:
        """All texts in one (tokens,) int64 tensor, the id `end` after each."""
        tail = [] if end is None else [end]
        parts = []
        for text in texts:
            fast = self.kind in {"character", "byte"}
            ids = self._points(self.normalize(text)) if fast else np.asarray(self.encode(text), dtype=np.int64)
            parts += [ids.astype(np.int64), np.asarray(tail, dtype=np.int64)]
        return torch.from_numpy(np.concatenate(parts) if parts else np.zeros(0, np.int64))

    def _points(self, text: str) -> np.ndarray:
        """One id a character or byte, by a table: a million characters take some ten milliseconds."""
        if self._table is None:
            return np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int64) + len(SPECIALS)
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        known = points < len(self._table)
        return np.where(known, self._table[np.where(known, points, 0)], UNK)

    def encode_words(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """(ids, word_index): for text that comes as words; word_index[i] is the place of the word of token i.

        Every word has at least one token (<unk> if need be). Where a token can hold a space, each word starts with one,
        as it would inside a sentence.
        """
        ids, index = [], []
        for i, word in enumerate(words):
            pieces = self._words.get(word)
            if pieces is None:
                if len(self._words) > 500_000:
                    self._words.clear()
                pieces = self._words[word] = self._word(word)
            ids += pieces
            index += [i] * len(pieces)
        return ids, index

    def _word(self, word: str) -> list[int]:
        if self.kind == "words":
            known = self.inner.token_to_id(self.normalize(word))
            return [UNK if known is None or known < len(SPECIALS) else known]
        return self.encode(word if self.kind == "wordpiece" else " " + word) or [UNK]

    # ids -> text

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """An unknown token reads U+FFFD; the other special tokens are left out, or spelled when not `skip_special`."""
        ids = [int(i) for i in ids]
        if skip_special:
            ids = [i for i in ids if i == UNK or i >= len(SPECIALS)]
        spaced = self.kind in {"wordpiece", "words"}
        runs, run = [], []
        for i in ids:
            if i < len(SPECIALS):
                runs += [self.inner.decode(run) if run else "", UNKNOWN if i == UNK else SPECIALS[i]]
                run = []
            else:
                run.append(i)
        runs.append(self.inner.decode(run) if run else "")
        return " ".join(filter(None, runs)) if spaced else "".join(runs)

    def decode_batch(self, batch: Iterable[Iterable[int]], skip_special: bool = True) -> list[str]:
        return [self.decode(ids, skip_special) for ids in batch]

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """One readable text for each token, for tables and pictures; half a letter reads U+FFFD."""
        return [self.decode([i], skip_special=False) for i in ids]

    def token_to_id(self, token: str) -> int | None:
        """The id of a token as it stands in tokenizer.json."""
        return self.inner.token_to_id(token)

    # disk

    def save(self, path: Path | str) -> Path:
        """Writes tokenizer.json; `path` is the file or its folder."""
        path = _file(path)
        path.write_text(self.inner.to_str(pretty=True), encoding="utf-8")
        return path

    @staticmethod
    def load(path: Path | str) -> "Tokenizer":
        """A tokenizer that was saved by jorip, ours or a loaded one; `path` is tokenizer.json or its folder.

        CheckpointError when it is not there, not readable, or not saved by jorip (`jorip.load_tokenizer` opens those).
        """
        from jorip.data.tokenizer_loaded import LoadedTokenizer, side_files

        path = _file(path)
        inner = parse(path, read(path))
        if is_own(inner):
            return Tokenizer(inner)
        return LoadedTokenizer.saved(inner, side_files(path.parent), str(path))


def is_own(inner: Any) -> bool:
    """Whether it has our special tokens as its first ids."""
    return tuple(inner.id_to_token(i) for i in range(6)) == SPECIALS


def read(path: Path) -> str:
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise CheckpointError(f"{path}: {size / 2**20:.0f} MiB is too large for a tokenizer ({LARGEST >> 20} MiB)")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise CheckpointError(f"{path}: the tokenizer cannot be read ({e})") from None


def parse(path: Path, text: str) -> Any:
    """A `tokenizers.Tokenizer`."""
    from tokenizers import Tokenizer as Inner

    try:
        return Inner.from_str(text)
    except Exception as e:  # the library raises bare Exception
        raise CheckpointError(f"{path}: is not a tokenizer.json ({str(e)[:200]})") from None


def _file(path: Path | str) -> Path:
    path = Path(path)
    return path / "tokenizer.json" if path.is_dir() else path


def _kind(state: dict) -> str:
    model, first = state["model"]["type"], (state["pre_tokenizer"] or {}).get("type")
    if model == "BPE" and not state["model"]["merges"]:
        return "byte" if first == "ByteLevel" else "character"
    known = {"BPE": "bpe", "Unigram": "unigram", "WordPiece": "wordpiece", "WordLevel": "words"}
    if model not in known:
        raise CheckpointError(f"tokenizer: model {model!r} is not one of {', '.join(known)}")
    return known[model]


def _table(inner: Any) -> np.ndarray:
    """(largest character + 1,) int64: character -> id."""
    vocab = {ord(t): i for t, i in inner.get_vocab().items() if len(t) == 1}
    table = np.full(max(chain(vocab, [0])) + 1, UNK, dtype=np.int64)
    table[list(vocab)] = list(vocab.values())
    return table
