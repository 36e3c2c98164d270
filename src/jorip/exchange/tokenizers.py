"""`jorip.load_tokenizer`: the tokenizer of a folder, jorip's or Hugging Face's, without transformers.

A Hugging Face folder holds a vocabulary (tokenizer.json, vocab.txt, vocab.json with merges.txt, or a SentencePiece
`.model`), and says in its configs which class of transformers uses it. Ids equal those of that class, as AutoTokenizer
chooses it (transformers 5).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jorip.architectures.locate import parse as parse_json
from jorip.architectures.locate import read_json
from jorip.core.errors import CheckpointError, did_you_mean
from jorip.data.tokenizer_loaded import CONFIG, MARK, NAMES, LoadedTokenizer, mapping, of_bytes, shown, side_files
from jorip.data.tokenizers import Tokenizer, is_own
from jorip.exchange.origin import read_origin
from jorip.exchange.tokenizer_classes import CLASSES, TokenizerClass
from jorip.exchange.tokenizer_files import JSON, Pieces, from_files, from_json, open_json
from jorip.exchange.tokenizer_tokens import add_tokens, options_of, set_template

GENERIC = "PreTrainedTokenizerFast"  # takes tokenizer.json as it stands, in every version of transformers
_OF_MODEL = {
    model: name
    for name, models in {
        "BertTokenizer": "bert distilbert electra mobilebert megatron-bert nezha convbert ernie squeezebert",
        "RobertaTokenizer": "roberta bart longformer led roberta-prelayernorm data2vec-text",
        "GPT2Tokenizer": "gpt2 gpt_neo gptj opt phi starcoder2 codegen",
        "OpenAIGPTTokenizer": "openai-gpt",
        "Qwen2Tokenizer": "qwen2 qwen2_moe qwen3 qwen3_moe",
        "T5Tokenizer": "t5 mt5 switch_transformers",
        "AlbertTokenizer": "albert",
        "BigBirdTokenizer": "big_bird",
    }.items()
    for model in models.split()
}
_SAME = {
    "BartTokenizer": "RobertaTokenizer",
    "LongformerTokenizer": "RobertaTokenizer",
    "LEDTokenizer": "RobertaTokenizer",
    "DistilBertTokenizer": "BertTokenizer",
    "ElectraTokenizer": "BertTokenizer",
    "MobileBertTokenizer": "BertTokenizer",
}
_AS_IT_STANDS = {"mistral", "mixtral", "ministral", "mistral3"}  # models whose tokenizer.json is never rebuilt
_CLASS_IS_WRONG = {"qwen2"}  # models whose configs on the hub name a wrong class


def load_tokenizer(folder: str | Path, vocab_size: int | None = None) -> Tokenizer:
    """A `Tokenizer` (trained by jorip) or a `LoadedTokenizer` (of a Hugging Face folder, or saved from one).

    vocab_size: rows of the model's embedding; by default what config.json says, where there is one.
    Raises CheckpointError when no vocabulary is found (with what was looked for), when a file is damaged, and when the
    vocabulary is larger than the embedding; ConfigError when a SentencePiece model needs a package that is missing.
    """
    folder = Path(folder)
    folder = folder.parent if folder.name == JSON else folder
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such folder to read a tokenizer from")
    inner = open_json(folder)
    if inner is not None and is_own(inner):
        return Tokenizer(inner)
    model = config_of(folder)
    files = side_files(folder)
    try:
        if inner is not None and MARK in mapping(files, CONFIG, str(folder)):
            made = LoadedTokenizer(inner, files)
        else:
            made = build(folder, inner, files, model)
    except CheckpointError as e:
        raise CheckpointError(str(e) if str(folder) in str(e) else f"{folder}: {e}") from None
    rows = model.get("vocab_size") if vocab_size is None else vocab_size
    if isinstance(rows, int) and made.vocab_size > rows:
        raise CheckpointError(
            f"{folder}: the tokenizer has ids up to {made.vocab_size - 1}, which needs {made.vocab_size} rows; the "
            f"model's embedding has {rows} (vocab_size): tokenizer and weights are not of one model"
        )
    return made


def config_of(folder: Path) -> dict[str, Any]:
    """The model's config.json, or what is kept of it in a folder that was converted; empty where there is none."""
    origin = read_origin(folder)
    if origin is not None:
        return origin.config
    path = folder / "config.json"
    found = parse_json(path, read_json(path)) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def build(folder: Path, inner: Any, files: Mapping[str, str], model: Mapping[str, Any]) -> LoadedTokenizer:
    """From the folder's vocabulary, with what its class does around it. inner: its tokenizer.json, if there is one."""
    options = options_of(files, inner is not None, str(folder))
    stated = options.pop("tokenizer_class", None) or model.get("tokenizer_class")
    name = class_of(stated, str(model.get("model_type")), inner)
    if inner is not None:
        if inner.padding is not None:
            options.setdefault("pad_token", inner.padding["pad_token"])
        inner.no_padding()
    notes: list[str] = []
    if inner is None:
        name, pieces = without_json(folder, name, stated, str(model.get("model_type")))
    elif name is None:
        pieces = Pieces(type(inner.model).__name__, {}, folder / JSON, whole=inner)
    else:
        pieces = from_json(folder / JSON, inner)
    kind = CLASSES.get(name or "")
    if kind is not None and pieces.kind != kind.model:
        if inner is None:
            raise CheckpointError(f"{pieces.where}: {name} needs a {kind.model} vocabulary, found {pieces.kind}")
        notes.append(f"{JSON} holds a {pieces.kind} vocabulary, which {name} cannot use: it is taken as it stands")
        kind = None
    try:
        made = pieces.whole if kind is None else kind.build(pieces, options)
        names = add_tokens(made, pieces, options, kind)
        set_template(made, pieces, options, kind, names)
        made.encode("\U0010fffd \u1c3f a")  # a vocabulary without the unknown token that it needs says so only here
    except CheckpointError:
        raise
    except Exception as e:  # the library raises bare Exception
        raise CheckpointError(f"{pieces.where}: cannot be used: {str(e)[:300]}") from None
    notes += changed(pieces, made) if kind is not None else []
    rest = {n: model[f"{n}_token_id"] for n in ("bos", "eos", "pad") if isinstance(model.get(f"{n}_token_id"), int)}
    names |= {n: t for n, i in rest.items() if n not in names and (t := made.id_to_token(i)) is not None}
    return LoadedTokenizer(made, {**files, CONFIG: config_text(files, folder, stated, name, kind, names)}, notes)


def class_of(stated: Any, model_type: str, inner: Any) -> str | None:
    """The class that AutoTokenizer takes; None: tokenizer.json as it stands."""
    stated = stated.removesuffix("Fast") if isinstance(stated, str) else None
    registered = _OF_MODEL.get(model_type)
    if model_type in _AS_IT_STANDS:
        return None
    if stated is None or model_type in _CLASS_IS_WRONG:
        return registered
    if stated == "LlamaTokenizer" and inner is not None and of_bytes(inner):
        return None  # Llama 3 and later, whose configs name the class of the first
    return stated if (stated := known_as(stated)) in CLASSES else None


def known_as(name: str) -> str:
    """The class that does its work."""
    name = name.removesuffix("Fast")
    return _SAME.get(name, name)


def without_json(folder: Path, name: str | None, stated: Any, model_type: str) -> tuple[str, Pieces]:
    """The class and the vocabulary, when older files have to tell."""
    name = name or _OF_MODEL.get(model_type)
    if name is not None:
        return name, from_files(folder, [CLASSES[name].files])
    known = isinstance(stated, str) and known_as(stated)
    if known and known not in {*CLASSES, "PreTrainedTokenizer", "TokenizersBackend"}:
        raise CheckpointError(
            f"{folder}: has no {JSON}, without which {stated} cannot be read{did_you_mean(stated, CLASSES)}: write it "
            "once with transformers (AutoTokenizer.from_pretrained(folder).save_pretrained(folder))"
        )
    pieces = from_files(folder, ["WordPiece", "BPE", "SentencePiece"])
    if pieces.kind == "WordPiece":
        return "BertTokenizer", pieces
    if pieces.kind == "Unigram":
        raise CheckpointError(
            f"{pieces.where}: neither {CONFIG} nor config.json says whose it is: add "
            '{"tokenizer_class": "T5Tokenizer"} (or AlbertTokenizer, BigBirdTokenizer) as ' + CONFIG
        )
    if pieces.where.suffix == ".model":
        return "LlamaTokenizer", pieces
    if any(b.endswith("</w>") for _, b in pieces.merges):
        return "OpenAIGPTTokenizer", pieces
    return ("RobertaTokenizer" if all(map(pieces.has, ("<s>", "</s>", "<mask>"))) else "GPT2Tokenizer"), pieces


def changed(pieces: Pieces, made: Any) -> list[str]:
    """What tokenizer.json says and its class does otherwise."""
    if pieces.whole is None:
        return []
    steps = [(n, shown(getattr(pieces.whole, n)), shown(getattr(made, n))) for n in ("normalizer", "pre_tokenizer")]
    return [
        f"{JSON}: its {name} {old[:160]} is not used: transformers' class has {new[:160]}"
        for name, old, new in steps
        if old != new
    ]


def config_text(files: Mapping[str, str], folder: Path, stated: Any, name: str | None, kind: TokenizerClass | None,
                names: Mapping[str, str]) -> str:  # fmt: skip
    """The folder's tokenizer_config.json, with class and special tokens said outright."""
    config = mapping(files, CONFIG, str(folder))
    config["tokenizer_class"] = (stated or name) if kind is not None or _unknown(stated) else GENERIC
    config |= {f"{n}_token": names[n] for n in NAMES if n in names and f"{n}_token" not in config}
    return json.dumps(config, ensure_ascii=False, indent=2) + "\n"


def _unknown(stated: Any) -> bool:
    """A class that we do not rebuild, but transformers may."""
    return isinstance(stated, str) and known_as(stated) not in CLASSES
