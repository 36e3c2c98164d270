"""The special tokens of a Hugging Face folder: which there are, what they are called, and what goes around a text.

They are written in up to four places, from transformers' several generations: `tokenizer_config.json` (newest),
`special_tokens_map.json` and `added_tokens.json` (heeded where the first has no `added_tokens_decoder`), and
`tokenizer.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jorip.core.errors import CheckpointError
from jorip.data.tokenizer_loaded import NAMES, content, mapping
from jorip.exchange.tokenizer_classes import TokenizerClass
from jorip.exchange.tokenizer_files import Pieces

_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")
_MOST = 10_000  # sentinels: a hundred times what T5 has
_EXTRA, _OLD_EXTRA = "extra_special_tokens", "additional_special_tokens"
_ORDER = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")  # in which transformers gives ids to those that have none


def options_of(files: Mapping[str, str], has_json: bool, where: str) -> dict[str, Any]:
    """tokenizer_config.json and what the older files add to it. `added`: id -> added token."""
    options = mapping(files, "tokenizer_config.json", where)
    if has_json:  # which has its own template
        options.pop("add_bos_token", None)
        options.pop("add_eos_token", None)
    try:
        added = options.pop("added_tokens_decoder", None)
        if added is None:
            options |= mapping(files, "special_tokens_map.json", where)
            ids = mapping(files, "added_tokens.json", where)
            special = {content(options.get(f"{n}_token")) for n in NAMES} | set(extra_of(options))
            added = {i: {"content": t, "special": t in special, "normalized": t not in special} for t, i in ids.items()}
        options["added"] = {int(i): token for i, token in added.items()}
        if not all(content(t) is not None for t in options["added"].values()):
            raise TypeError
    except CheckpointError:
        raise
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise CheckpointError(f"{where}: added or special tokens are damaged: ids and tokens are expected") from None
    count = options.get("extra_ids", 0)
    if type(count) is not int or not 0 <= count <= _MOST:
        raise CheckpointError(f"{where}: extra_ids must be between 0 and {_MOST}, found {count!r}")
    return options


def extra_of(options: Mapping[str, Any]) -> list[str]:
    """Special tokens beyond the usual ones: listed, or by names of their own (`image_token`)."""
    listed = options.get(_EXTRA) or options.get(_OLD_EXTRA) or ()
    listed = list(listed.values()) if isinstance(listed, dict) else list(listed)
    usual = {f"{n}_token" for n in NAMES}
    listed += [v for k, v in options.items() if k.endswith("_token") and k not in usual and isinstance(v, str)]
    return [t for t in map(content, listed) if t is not None]


def names_of(options: Mapping[str, Any], kind: TokenizerClass | None, pieces: Pieces) -> dict[str, Any]:
    """unk, bos ... -> the token, as text or as a mapping. Those that only the class names count when the vocabulary has
    them; all of them when it lacks one without which no text can be read."""
    default = {} if kind is None else kind.specials
    if kind is not None and all(pieces.has(default[n]) for n in kind.needs):
        default = {n: t for n, t in default.items() if pieces.has(t)}
    found = {n: options.get(f"{n}_token", default.get(n)) for n in _ORDER}
    return {n: t for n, t in found.items() if content(t) is not None}


def add_tokens(inner: Any, pieces: Pieces, options: Mapping[str, Any], kind: TokenizerClass | None) -> dict[str, str]:
    """Gives `inner` its special and added tokens, in transformers' order, and returns the names: unk, bos ..."""
    named = names_of(options, kind, pieces)
    has_ids = pieces.whole is not None
    known = {t["id"]: t for t in pieces.added} if has_ids else {}
    known |= options["added"]
    tokens = [_token(known[i]) for i in sorted(known)]
    there = {t.content for t in (*tokens, *inner.get_added_tokens_decoder().values())}
    for token in named.values():
        if content(token) not in there:
            tokens.append(_token(token, special=True))
            there.add(content(token))
    tokens += [_token(t, special=True) for t in extra_of(options) if t not in there]
    if not has_ids and not (options.get(_EXTRA) or options.get(_OLD_EXTRA)):
        tokens += [_token(t) for t in pieces.added if t["content"] not in there]
        if kind is not None:
            tokens += [_token(t, special=True) for t in kind.extra(options)]
    names = {n: str(content(t)) for n, t in named.items()}
    for token in tokens:
        token.special = token.special or token.content in names.values()
    inner.add_tokens(tokens)
    return names


def set_template(inner: Any, pieces: Pieces, options: Mapping[str, Any], kind: TokenizerClass | None,
                 names: Mapping[str, str]) -> None:  # fmt: skip
    """What goes around texts: as the class has it, or tokenizer.json; else bos and eos where the config asks."""
    from tokenizers import processors

    tokens = {n: (t, inner.token_to_id(t)) for n, t in names.items()}
    if kind is not None and kind.around is not None:
        inner.post_processor = kind.around(tokens, options)
    elif pieces.whole is not None and pieces.whole.post_processor is not None:
        inner.post_processor = pieces.whole.post_processor
    elif kind is not None or pieces.whole is None:
        first = names.get("bos") if options.get("add_bos_token", False) else None
        last = names.get("eos") if options.get("add_eos_token", False) else None
        one, two = ([*([first] if first else []), text, *([last] if last else [])] for text in ("$A", "$B"))
        inner.post_processor = processors.TemplateProcessing(
            single=" ".join(f"{t}:0" for t in one),
            pair=" ".join([*(f"{t}:0" for t in one), *(f"{t}:1" for t in two)]),
            special_tokens=[tokens[n] for n, t in (("bos", first), ("eos", last)) if t],
        )


def _token(token: Any, special: bool = False) -> Any:
    from tokenizers import AddedToken

    flags = {k: bool(token[k]) for k in _FLAGS if k in token} if isinstance(token, dict) else {}
    return AddedToken(str(content(token)), **(flags | ({"special": True} if special else {})))
