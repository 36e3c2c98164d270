"""Training of tokenizers: the same texts give the same file, byte for byte, whatever the threads and hash seeds.

`tokenizers` does the work. Where its result depends on the order of its hash maps (WordPiece's continuation letters,
the last digits of Unigram's scores), input or output is put into a canonical form here.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from jorip.core.errors import ConfigError, DataError
from jorip.data.tokenizers import SPECIALS, TokenizerSpec

_SUBWORDS = 8_000
_INNER = 0xF0000  # private use: where letters inside a word go while WordPiece is trained
# words with their leading space, numbers, punctuation and white space apart, so that all of the text is in some piece
_WORDS = r" ?[\p{L}\p{M}]+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+|\s+"


def train(spec: TokenizerSpec, texts: Iterable[str | list[str]]) -> Any:
    """A `tokenizers.Tokenizer`; see `train_tokenizer`."""
    from tokenizers import normalizers

    steps: list[Any] = {"nfc": [normalizers.NFC()], "nfkc": [normalizers.NFKC()], "none": []}[spec.normalize]
    steps += [normalizers.Lowercase()] if spec.lowercase else []
    normalizer = normalizers.Sequence(steps)
    inner = _TRAINERS[spec.kind](spec, _Texts(texts, normalizer, spec))
    inner.normalizer = normalizer
    inner.add_special_tokens(_specials())
    return inner


class _Texts:
    """The normalised texts, read once; complains when there are none."""

    def __init__(self, texts: Iterable[str | list[str]], normalizer, spec: TokenizerSpec) -> None:
        self.texts, self.normalizer, self.spec = texts, normalizer, spec

    def __iter__(self) -> Iterator[str]:
        for item in self.words():
            yield item if isinstance(item, str) else " ".join(item)

    def words(self) -> Iterator[str | list[str]]:
        some = False
        for item in self.texts:
            some = some or bool(item)
            yield self._norm(item) if isinstance(item, str) else [self._norm(w) for w in item]
        if not some:
            raise DataError("there is no text to train a tokenizer on")

    def _norm(self, text: str) -> str:
        return self.normalizer.normalize_str(text)


def _specials() -> list:
    from tokenizers import AddedToken

    return [AddedToken(s, special=True, normalized=False) for s in SPECIALS]


def _most_common(counts: Counter, spec: TokenizerSpec, default_minimum: int, room: int | None) -> list[str]:
    """The frequent ones, equal counts in code point order."""
    least = spec.min_frequency or default_minimum
    kept = sorted((item for item, n in counts.items() if n >= least), key=lambda item: (-counts[item], item))
    return kept[:room]


def _vocab(tokens: Iterable[str]) -> dict[str, int]:
    return {token: i for i, token in enumerate([*SPECIALS, *tokens])}


def _size(spec: TokenizerSpec, least: int, why: str) -> int:
    size = _SUBWORDS if spec.vocab_size is None else spec.vocab_size
    if size < least:
        raise ConfigError(f"tokenizer: {spec.kind} needs vocab_size of at least {least} ({why}); found {size}")
    return size


def _character(spec: TokenizerSpec, texts: _Texts):
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models

    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    room = None if spec.vocab_size is None else spec.vocab_size - len(SPECIALS)
    # BPE without merges is one token a character, and unlike a split into words keeps every character
    inner = Inner(models.BPE(_vocab(_most_common(counts, spec, 1, room)), [], unk_token="<unk>", fuse_unk=False))
    inner.decoder = decoders.Fuse()
    return inner


def _byte_letters() -> list[str]:
    """The letters by which ByteLevel writes bytes 0 to 255, in the order of the bytes (GPT-2's table)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = {b: 256 + n for n, b in enumerate(b for b in range(256) if b not in shown)}
    return [chr(moved.get(b, b)) for b in range(256)]


def _byte(spec: TokenizerSpec, texts: _Texts):
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, pre_tokenizers

    if spec.vocab_size not in {None, 262}:
        raise ConfigError(
            f"tokenizer: byte has 256 bytes and 6 special tokens; leave vocab_size out (found {spec.vocab_size})"
        )
    inner = Inner(models.BPE(_vocab(_byte_letters()), []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return inner


def _bpe(spec: TokenizerSpec, texts: _Texts):
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, pre_tokenizers, trainers

    inner = Inner(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_size(spec, 262, "256 bytes and 6 special tokens"),
        min_frequency=spec.min_frequency or 2,
        show_progress=False,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train_from_iterator(texts, trainer)
    return inner


def _wordpiece(spec: TokenizerSpec, texts: _Texts):
    """Letters inside a word are written as private-use ones during training: `##` then follows from the letter, and no
    id depends on the order in which words were met."""
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, pre_tokenizers, trainers

    size = _size(spec, 16, "special tokens and some letters")
    split = pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in split.pre_tokenize_str(text))
    inside = {c: chr(_INNER + n) for n, c in enumerate(sorted({c for word in words for c in word[1:]}))}
    outside = {hidden: c for c, hidden in inside.items()}
    hidden = {word: word[0] + "".join(inside[c] for c in word[1:]) for word in words}
    letters: Counter[str] = Counter()
    for word, n in words.items():
        for c in hidden[word]:
            letters[c] += n
    known = set(_most_common(letters, spec, 2, (size - len(SPECIALS)) // 2))
    usable = sorted(word for word in words if known.issuperset(hidden[word]))
    least = spec.min_frequency or 2
    inner = Inner(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=least, show_progress=False, special_tokens=list(SPECIALS)
    )
    inner.train_from_iterator((" ".join([hidden[word]] * words[word]) for word in usable), trainer)
    tokens = sorted(inner.get_vocab().items(), key=lambda item: item[1])[len(SPECIALS) :]
    shown = [("##" if t[0] in outside else "") + "".join(outside.get(c, c) for c in t) for t, _ in tokens]
    made = Inner(models.WordPiece(_vocab(shown), unk_token="<unk>"))
    made.pre_tokenizer = split
    made.decoder = decoders.WordPiece()
    return made


def _unigram(spec: TokenizerSpec, texts: _Texts):
    """Pieces may hold spaces, so text comes back exactly. Rare characters (beyond 99.95 % of the text) are bytes."""
    from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Inner

    size = _size(spec, 400, "256 bytes, 6 special tokens, ASCII and some pieces") - 256
    ascii_ = [chr(c) for c in range(32, 127)]
    kept = list(texts)
    letters: Counter[str] = Counter()
    for text in kept:
        letters.update(text)
    room, allowed, seen = (size - len(SPECIALS) - len(ascii_)) // 2, 0.9995 * sum(letters.values()), 0
    known = set(ascii_) | {"\n"}
    for letter in _most_common(letters, spec, 2, room):
        if seen > allowed:
            break
        seen += letters[letter]
        known.add(letter)
    rare = re.compile("|".join(map(re.escape, sorted(set(letters) - known))) or r"(?!)")
    inner = Inner(models.Unigram())
    split = pre_tokenizers.Split(Regex(_WORDS), "isolated")
    inner.pre_tokenizer = split
    trainer = trainers.UnigramTrainer(
        vocab_size=size,
        show_progress=False,
        special_tokens=list(SPECIALS),
        unk_token="<unk>",
        initial_alphabet=ascii_,
    )
    inner.train_from_iterator((rare.sub("\n", text) for text in kept), trainer)
    pieces = _canonical(json.loads(inner.to_str())["model"]["vocab"][len(SPECIALS) :])
    # so unlikely that a byte is only used for a character without a piece, even when a text spells <0x41>
    pieces += [(f"<0x{b:02X}>", -1000.0) for b in range(256)]
    made = Inner(models.Unigram([*((s, 0.0) for s in SPECIALS), *pieces], unk_id=0, byte_fallback=True))
    made.pre_tokenizer = split
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return made


def _canonical(vocab: list) -> list[tuple[str, float]]:
    """The trainer appends letters that lost their piece with scores lowest + 0.0001 n, in hash order: in code point
    order here; and its sums depend on threads in the last digits: rounded."""
    lowest = min(score for _, score in vocab)
    loose = [p for p, s in vocab if len(p) == 1 and s <= lowest + 1e-4 * (len(vocab) + 1)]
    rank = {p: n for n, p in enumerate(sorted(loose))}
    fixed = [(p, round(lowest + 1e-4 * rank[p] if p in rank else s, 6)) for p, s in vocab]
    return sorted(fixed, key=lambda item: (-item[1], item[0]))


def _words(spec: TokenizerSpec, texts: _Texts):
    from tokenizers import Tokenizer as Inner
    from tokenizers import models, pre_tokenizers

    split = pre_tokenizers.Whitespace()
    counts: Counter[str] = Counter()
    for item in texts.words():
        counts.update(item if isinstance(item, list) else (word for word, _ in split.pre_tokenize_str(item)))
    for special in SPECIALS:
        counts.pop(special, None)
    room = None if spec.vocab_size is None else spec.vocab_size - len(SPECIALS)
    inner = Inner(models.WordLevel(_vocab(_most_common(counts, spec, 2, room)), unk_token="<unk>"))
    inner.pre_tokenizer = split
    return inner


_TRAINERS = {
    "character": _character,
    "byte": _byte,
    "wordpiece": _wordpiece,
    "bpe": _bpe,
    "unigram": _unigram,
    "words": _words,
}
