"""What each of transformers' tokenizer classes does to a text before and after its vocabulary is used.

As of version 5, a class rebuilds its pipeline from the vocabulary and the fields of tokenizer_config.json; what a
tokenizer.json says about normalisation and splitting counts only where no class does. The same is done here, because
the ids have to be theirs. Classes that are not in the table have their tokenizer.json taken as it stands.

Quirks of transformers that are matched: BigBird leaves its SentencePiece normalisation out; ALBERT from a `.model` does
not keep commas off numbers. One that is not: Mistral from a bare `tokenizer.model`, where AutoTokenizer 5 forgets the
space before the first word; it is read as Llama's, like SentencePiece itself and transformers 4 do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jorip.data.tokenizer_loaded import content
from jorip.exchange.tokenizer_files import Pieces

Options = Mapping[str, Any]
Build = Callable[[Pieces, Options], Any]
_BAR = "▁"  # SentencePiece's space
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class TokenizerClass:
    """model: type of its vocabulary; files: where that may lie beside tokenizer.json; specials: names of special
    tokens where no file says otherwise; build: a `tokenizers.Tokenizer` without special tokens; around: what goes
    around texts, from the tokens' names and ids (None: what tokenizer.json says, else bos and eos if the config asks
    for them); needs: the special tokens that `around` uses."""

    model: str
    files: str
    specials: dict[str, str]
    build: Build
    around: Callable[[dict[str, tuple[str, int]], Options], Any] | None = None
    needs: tuple[str, ...] = ()
    extra: Callable[[Options], list[str]] = field(default=lambda options: [])


def _bert(pieces: Pieces, options: Options) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    unk = content(options.get("unk_token")) or "[UNK]"
    inner = Tokenizer(models.WordPiece(pieces.ids, unk_token=unk))
    inner.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=options.get("tokenize_chinese_chars", True),
        strip_accents=options.get("strip_accents"),
        lowercase=options.get("do_lower_case", True),
    )
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece(prefix="##")
    return inner


def _bytes(pieces: Pieces, options: Options) -> Any:
    """GPT-2's byte pairs, also RoBERTa's and BART's."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    inner = Tokenizer(_bpe(pieces))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(options.get("add_prefix_space", False)))
    inner.decoder = decoders.ByteLevel()
    return inner


def _bpe(pieces: Pieces, **more: Any) -> Any:
    from tokenizers import models

    return models.BPE(pieces.ids, pieces.merges, dropout=None, **more)


def _qwen(pieces: Pieces, options: Options) -> Any:
    from tokenizers import Regex, normalizers, pre_tokenizers

    inner = _bytes(pieces, options)
    inner.normalizer = normalizers.NFC()
    prefix = bool(options.get("add_prefix_space", False))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False),
        ]
    )
    return inner


def _gpt(pieces: Pieces, options: Options) -> Any:
    """The first GPT: BERT's splitting, `</w>` at the end of words."""
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers

    unk = content(options.get("unk_token")) or "<unk>"
    inner = Tokenizer(_bpe(pieces, unk_token=unk, continuing_subword_prefix="", end_of_word_suffix="</w>"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.BPEDecoder(suffix="</w>")
    return inner


def _llama(pieces: Pieces, options: Options) -> Any:
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    prefix = options.get("add_prefix_space")
    prefix = True if prefix is None else bool(prefix)
    scheme = ("always" if options.get("legacy", False) else "first") if prefix else "never"
    inner = Tokenizer(_bpe(pieces, fuse_unk=True, byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(_BAR, prepend_scheme=scheme, split=False)
    steps: list[Any] = [decoders.Replace(_BAR, " "), decoders.ByteFallback(), decoders.Fuse()]
    inner.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    return inner


def _t5(pieces: Pieces, options: Options) -> Any:
    from tokenizers import Tokenizer, models, normalizers

    vocab = pieces.scores
    if pieces.whole is None:  # a .model has no sentinels, a tokenizer.json has them
        vocab = [*vocab, *((token, 0.0) for token in reversed(_sentinels(options)))]
    inner = Tokenizer(models.Unigram(vocab, unk_id=2, byte_fallback=False))
    if pieces.charsmap:
        inner.normalizer = normalizers.Precompiled(pieces.charsmap)
    _spaced(inner, "always", split=True)
    return inner


def _sentinels(options: Options) -> list[str]:
    """`<extra_id_0>` ..., which stand for corrupted spans."""
    return [f"<extra_id_{i}>" for i in range(int(options.get("extra_ids", 100)))]


def _albert(pieces: Pieces, options: Options) -> Any:
    from tokenizers import Tokenizer, models, normalizers

    inner = Tokenizer(models.Unigram(pieces.scores, unk_id=1, byte_fallback=False))
    steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not options.get("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if options.get("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    if pieces.charsmap:
        steps.append(normalizers.Precompiled(pieces.charsmap))
    inner.normalizer = normalizers.Sequence(steps)
    _spaced(inner, "always" if options.get("add_prefix_space", True) else "never", split=True)
    return inner


def _big_bird(pieces: Pieces, options: Options) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers

    unk = content(options.get("unk_token")) or "<unk>"
    found = [i for i, (token, score) in enumerate(pieces.scores) if token == unk and score == 0.0]
    inner = Tokenizer(models.Unigram(pieces.scores, unk_id=found[0] if found else 100, byte_fallback=False))
    inner.normalizer = normalizers.Sequence(
        [normalizers.Strip(left=False, right=False), normalizers.Replace(Regex(" {2,}"), _BAR)]
    )
    _spaced(inner, "always" if options.get("add_prefix_space", True) else "never", split=False)
    return inner


def _spaced(inner: Any, scheme: Any, split: bool) -> None:
    """Words with their space in front, written as a bar. split: at white space of every kind, which is lost."""
    from tokenizers import decoders, pre_tokenizers

    bars = pre_tokenizers.Metaspace(_BAR, prepend_scheme=scheme, split=True)
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), bars]) if split else bars
    inner.decoder = decoders.Metaspace(_BAR, prepend_scheme=scheme, split=True)


def _cls_sep(tokens: dict[str, tuple[str, int]], options: Options) -> Any:
    from tokenizers import processors

    cls, sep = tokens["cls"][0], tokens["sep"][0]
    return processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[tokens["cls"], tokens["sep"]],
    )


def _roberta(tokens: dict[str, tuple[str, int]], options: Options) -> Any:
    from tokenizers import processors

    prefix, trim = bool(options.get("add_prefix_space", False)), bool(options.get("trim_offsets", True))
    return processors.RobertaProcessing(tokens["sep"], tokens["cls"], trim, prefix)


def _eos(tokens: dict[str, tuple[str, int]], options: Options) -> Any:
    from tokenizers import processors

    return processors.TemplateProcessing(
        single=["$A", "</s>"], pair=["$A", "</s>", "$B", "</s>"], special_tokens=[("</s>", tokens["eos"][1])]
    )


def _names(**tokens: str) -> dict[str, str]:
    return tokens


_BERT_NAMES = _names(unk="[UNK]", sep="[SEP]", pad="[PAD]", cls="[CLS]", mask="[MASK]")
_BART_NAMES = _names(bos="<s>", eos="</s>", unk="<unk>", sep="</s>", pad="<pad>", cls="<s>", mask="<mask>")
_ALBERT_NAMES = _names(bos="[CLS]", eos="[SEP]", unk="<unk>", sep="[SEP]", pad="<pad>", cls="[CLS]", mask="[MASK]")
_BIG_BIRD_NAMES = _names(bos="<s>", eos="</s>", unk="<unk>", sep="[SEP]", pad="<pad>", cls="[CLS]", mask="[MASK]")
_END = "<|endoftext|>"
_BOTH = ("cls", "sep")

CLASSES = {
    "BertTokenizer": TokenizerClass("WordPiece", "WordPiece", _BERT_NAMES, _bert, _cls_sep, _BOTH),
    "RobertaTokenizer": TokenizerClass("BPE", "BPE", _BART_NAMES, _bytes, _roberta, _BOTH),
    "GPT2Tokenizer": TokenizerClass("BPE", "BPE", _names(bos=_END, eos=_END, unk=_END), _bytes),
    "OpenAIGPTTokenizer": TokenizerClass("BPE", "BPE", _names(unk="<unk>"), _gpt),
    "Qwen2Tokenizer": TokenizerClass("BPE", "BPE", _names(eos=_END, unk=_END, pad=_END), _qwen),
    "LlamaTokenizer": TokenizerClass("BPE", "SentencePiece", _names(bos="<s>", eos="</s>", unk="<unk>"), _llama),
    "T5Tokenizer": TokenizerClass("Unigram", "SentencePiece", _names(eos="</s>", unk="<unk>", pad="<pad>"), _t5, _eos,
                                  ("eos",), _sentinels),
    "AlbertTokenizer": TokenizerClass("Unigram", "SentencePiece", _ALBERT_NAMES, _albert, _cls_sep, _BOTH),
    "BigBirdTokenizer": TokenizerClass("Unigram", "SentencePiece", _BIG_BIRD_NAMES, _big_bird, _cls_sep, _BOTH),
}  # fmt: skip
