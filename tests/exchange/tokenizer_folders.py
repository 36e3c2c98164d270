"""Small tokenizers of every kind, trained here, in folders as people have them on disk."""

from __future__ import annotations

import io
import json
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

KOREAN = "이 영화 정말 재밌어요! 또 보고 싶다."
CORPUS = [
    KOREAN,
    "영화가 별로였다... 시간이 아깝다",
    "The film was good, the actors were better, 3.14 and 2024!",
    "don't  stop\n\tnow",
    "스토리가 좋고 배우들의 연기도 좋다",
    "Das ist ein schöner Film. Größe",
    "visit https://example.org/a?b=1&c=2 now ``quoted'' café",
] * 20
# what every tokenizer is compared on
TEXTS = [
    "The quick brown Fox doesn't JUMP; it's five o'clock (1), isn't it?",
    KOREAN,
    unicodedata.normalize("NFD", KOREAN),
    "Größe, Straße, ÄÖÜ: das ist schön",
    unicodedata.normalize("NFD", "Größe café"),
    "👨‍👩‍👧‍👦 🇰🇷🇩🇪 👍🏽 ☃️ \U0001f9ff",
    "\t\ttabs\n\nlines  many     spaces \r\n x ",
    "   leading",
    "trailing   ",
    " ",
    "",
    "3.14 1,000,000 ½ ² 2024-01-02 ٣",
    "https://example.org/a?b=1&c=2#x me@example.org",
    "mixed 한글and日本語 中文 English",
    "ＦＵＬＬ width ｶﾅ ﬁ Ⅳ",
    "\u00a0nbsp\u3000wide\u200bzero\ufeff",
    "``quoted'' \"x\" «y» — …",
    "x" * 120,
    "뷁 \x00\x07 control",
    "<unk [SEP",
]


def write(folder: Path, **files: Any) -> Path:
    """`name__txt` becomes name.txt; mappings are written as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            path.write_text(text, encoding="utf-8")
    return folder


@cache
def sentence_piece(kind: str, **more: Any) -> bytes:
    out = io.BytesIO()
    sizes = {"vocab_size": 500 if kind == "bpe" else 300, "hard_vocab_limit": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=out, model_type=kind, **sizes, **more
    )
    return out.getvalue()


def t5() -> bytes:
    return sentence_piece("unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


def albert() -> bytes:
    controls = {"control_symbols": "[CLS],[SEP]", "user_defined_symbols": "[MASK],film"}
    return sentence_piece("unigram", pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, **controls)


def big_bird() -> bytes:
    return sentence_piece("unigram", pad_id=0, eos_id=1, bos_id=2, unk_id=3, control_symbols="[CLS],[SEP],[MASK]")


def llama() -> bytes:
    plain = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    ids = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}
    return sentence_piece(
        "bpe", byte_fallback=True, split_digits=True, allow_whitespace_only_pieces=True, **plain, **ids
    )


@cache
def byte_pairs(*specials: str) -> str:
    """tokenizer.json of GPT-2's kind."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(specials), initial_alphabet=letters, show_progress=False
    )
    inner.train_from_iterator(CORPUS, trainer)
    return inner.to_str()


@cache
def word_pieces(lower: bool) -> str:
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=lower)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    inner.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False)
    )
    return inner.to_str()


@cache
def first_gpt() -> str:
    inner = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.BPEDecoder(suffix="</w>")
    inner.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False),
    )
    return inner.to_str()


def vocab_and_merges(text: str) -> dict[str, Any]:
    """vocab.json and merges.txt of a tokenizer.json."""
    model = json.loads(text)["model"]
    lines = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    return {"vocab__json": model["vocab"], "merges__txt": "\n".join(["#version: 0.2", *lines, ""])}


def vocab_txt(text: str) -> dict[str, Any]:
    vocab = json.loads(text)["model"]["vocab"]
    return {"vocab__txt": "".join(f"{t}\n" for t in sorted(vocab, key=vocab.__getitem__))}


def model(kind: str, **more: Any) -> dict[str, Any]:
    return {"config__json": {"model_type": kind, **more}}


def config(**fields: Any) -> dict[str, Any]:
    return {"tokenizer_config__json": fields}


def token(text: str, **flags: bool) -> dict[str, Any]:
    off = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {"content": text, **off, **flags}


END = "<|endoftext|>"
BART = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"}


def llama3() -> str:
    """As Llama 3 has it: a sequence of post-processors, special tokens beyond the vocabulary."""
    inner = Tokenizer.from_str(byte_pairs())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "merged_with_next"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    inner.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    first = [("<|begin_of_text|>", inner.token_to_id("<|begin_of_text|>"))]
    inner.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin_of_text|>:0 $A:0",
                pair="<|begin_of_text|>:0 $A:0 <|begin_of_text|>:1 $B:1",
                special_tokens=first,
            ),
        ]
    )
    inner.enable_truncation(5)
    inner.enable_padding(length=9)
    return inner.to_str()


def with_added(text: str, *tokens: str, special: bool = True) -> str:
    inner = Tokenizer.from_str(text)
    (inner.add_special_tokens if special else inner.add_tokens)(list(tokens))
    return inner.to_str()


def bart_json() -> str:
    inner = Tokenizer.from_str(byte_pairs(*BART))
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    state = json.loads(inner.to_str())
    next(t for t in state["added_tokens"] if t["content"] == "<mask>")["lstrip"] = True
    return json.dumps(state)


TYPED = token("[PAD]") | {"__type": "AddedToken"}
CHAT = {"400": token("<|im_start|>"), "401": token("<|im_end|>"), "402": token("<tool>", special=False)}
# name -> the files of a folder; AutoTokenizer opens each of them
FOLDERS: dict[str, Any] = {
    # as old repositories have them
    "bert": lambda: vocab_txt(word_pieces(True)) | model("bert"),
    "bert-cased": lambda: vocab_txt(word_pieces(False)) | model("bert") | config(do_lower_case=False),
    "bert-odd": lambda: (
        vocab_txt(word_pieces(True))
        | model("bert")
        | config(tokenize_chinese_chars=False, strip_accents=False, clean_up_tokenization_spaces=True)
    ),
    "electra-class": lambda: vocab_txt(word_pieces(True)) | config(tokenizer_class="ElectraTokenizer"),
    "distilbert": lambda: vocab_txt(word_pieces(True)) | model("distilbert"),
    "bert-added": lambda: (
        vocab_txt(word_pieces(True))
        | model("bert")
        | config(additional_special_tokens=["[E1]"])
        | {
            "added_tokens__json": {"[E1]": 260, "plot": 261},
            "special_tokens_map__json": {"mask_token": token("[MASK]")},
        }
    ),
    "gpt2": lambda: vocab_and_merges(byte_pairs(END)) | model("gpt2"),
    "gpt2-padded": lambda: (
        vocab_and_merges(byte_pairs(END)) | model("gpt2") | config(pad_token="[PAD]", image_token="<image>")
    ),
    "gpt2-bos": lambda: vocab_and_merges(byte_pairs(END)) | model("gpt2") | config(add_bos_token=True),
    "gpt_neo": lambda: vocab_and_merges(byte_pairs(END)) | model("gpt_neo"),
    "gpt": lambda: vocab_and_merges(first_gpt()) | model("openai-gpt"),
    "roberta": lambda: vocab_and_merges(byte_pairs(*BART)) | model("roberta"),
    "roberta-prefix": lambda: vocab_and_merges(byte_pairs(*BART)) | model("roberta") | config(add_prefix_space=True),
    "bart": lambda: vocab_and_merges(byte_pairs(*BART)) | model("bart") | config(tokenizer_class="BartTokenizer"),
    "qwen2": lambda: vocab_and_merges(byte_pairs(END)) | model("qwen2") | config(added_tokens_decoder=CHAT),
    "qwen3": lambda: vocab_and_merges(byte_pairs(END)) | model("qwen3"),
    "t5": lambda: {"spiece__model": t5()} | model("t5"),
    "t5-few": lambda: {"spiece__model": t5()} | model("t5") | config(extra_ids=5),
    "switch": lambda: {"spiece__model": t5()} | model("switch_transformers"),
    "albert": lambda: {"spiece__model": albert()} | model("albert"),
    "albert-cased": lambda: (
        {"spiece__model": albert()} | model("albert") | config(do_lower_case=False, keep_accents=True)
    ),
    "big_bird": lambda: {"spiece__model": big_bird()} | model("big_bird"),
    "llama": lambda: {"tokenizer__model": llama()} | model("llama") | config(**LLAMA, add_bos_token=True),
    "llama-legacy": lambda: (
        {"tokenizer__model": llama()} | model("llama") | config(**LLAMA, add_bos_token=True, legacy=True)
    ),
    "llama-both": lambda: (
        {"tokenizer__model": llama(), "added_tokens__json": {"<pad>": 500}}
        | model("llama")
        | config(**LLAMA, add_bos_token=True, add_eos_token=True, pad_token="<pad>")
    ),
    "llama-no-prefix": lambda: (
        {"tokenizer__model": llama()} | model("llama") | config(**LLAMA, add_bos_token=True, add_prefix_space=False)
    ),
    # a tokenizer.json and a model's config, nothing more
    "bert-json": lambda: {"tokenizer__json": word_pieces(True)} | model("bert"),
    "bert-json-cased": lambda: {"tokenizer__json": word_pieces(False)} | model("bert"),  # read as if it were not
    "gpt2-json": lambda: {"tokenizer__json": byte_pairs(END)} | model("gpt2"),
    "gpt2-json-bare": lambda: {"tokenizer__json": byte_pairs()} | model("gpt2"),
    "roberta-json": lambda: {"tokenizer__json": byte_pairs(*BART)} | model("roberta"),
    "bart-json": lambda: {"tokenizer__json": bart_json()} | model("bart"),
    "gpt-json": lambda: {"tokenizer__json": first_gpt()} | model("openai-gpt"),
    "qwen2-json": lambda: {"tokenizer__json": with_added(byte_pairs(END), "<|im_start|>")} | model("qwen2"),
    "llama3": lambda: {"tokenizer__json": llama3()} | model("llama"),
    # with a tokenizer_config.json of transformers 4
    "bert-four": lambda: (
        {"tokenizer__json": word_pieces(False)}
        | model("bert")
        | config(
            tokenizer_class="BertTokenizerFast",
            do_lower_case=False,
            added_tokens_decoder={str(i): token(t) for i, t in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]"))},
            mask_token="[MASK]",
        )
    ),
    "roberta-four": lambda: (
        {"tokenizer__json": bart_json(), "special_tokens_map__json": {"mask_token": token("<mask>", lstrip=True)}}
        | model("roberta")
        | config(tokenizer_class="RobertaTokenizer", add_prefix_space=False, trim_offsets=True)
    ),
    "llama3-four": lambda: (
        {"tokenizer__json": llama3()}
        | model("llama")
        | config(tokenizer_class="LlamaTokenizerFast", bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>")
    ),
    "generic": lambda: (
        {"tokenizer__json": with_added(word_pieces(False), "[X]", "film", special=False)}
        | model("bert")
        | config(
            tokenizer_class="PreTrainedTokenizerFast",
            unk_token="[UNK]",
            pad_token=token("[PAD]") | {"__type": "AddedToken"},
        )
    ),
    "qwen3-generic": lambda: (
        {"tokenizer__json": byte_pairs(END)} | model("qwen3") | config(tokenizer_class="PreTrainedTokenizerFast")
    ),
    "mistral-json": lambda: {"tokenizer__json": llama3()} | model("mistral") | config(**LLAMA),
}


def make(name: str, folder: Path) -> Path:
    return write(folder / name, **FOLDERS[name]())
