"""What a caller of `generate` leaves open, a loaded checkpoint says: its special ids and its makers' settings, as our
options. They are transformers' settings, read as transformers reads them, so that a loaded model gives the same ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jorip.core.errors import ConfigError
from jorip.inference.options import Options

_CHOICE = ("beams", "temperature", "top_k", "top_p")  # how tokens are chosen: a caller who gives one gives all
# Theirs -> ours, where both mean the same.
_SAME = {
    "max_new_tokens": "max_new_tokens",
    "min_new_tokens": "min_new_tokens",
    "length_penalty": "length_penalty",
    "early_stopping": "early_stopping",
    "no_repeat_ngram_size": "no_repeat_ngram",
    "repetition_penalty": "repetition_penalty",
    "renormalize_logits": "renormalise",
}
# Settings that would change the output and are not here, with the values that change nothing.
_LACKING: dict[str, tuple[Any, ...]] = {
    "num_beam_groups": (1,), "diversity_penalty": (0,), "penalty_alpha": (0,), "guidance_scale": (1,),
    "encoder_no_repeat_ngram_size": (0,), "encoder_repetition_penalty": (1,), "begin_suppress_tokens": ([],),
    "exponential_decay_length_penalty": (), "sequence_bias": ({},), "force_words_ids": ([],), "stop_strings": ([],),
    "watermarking_config": (),
}  # fmt: skip
_LACKING_DRAWN: dict[str, tuple[Any, ...]] = {
    "num_beams": (1,), "typical_p": (1,), "min_p": (0,), "epsilon_cutoff": (0,), "eta_cutoff": (0,), "top_h": (),
}  # fmt: skip


def defaults(model: Any, used: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options beside the `given` ones; none for models that were never somebody else's.

    used: tokens that transformers counts towards max_length and min_length beside the new ones: a decoder's padded
    prompt, an encoder-decoder's first token. Without `generation_config.json`, config.json is read instead, where old
    versions wrote the settings. Raises ConfigError for a setting that this generation lacks, or that is damaged.
    """
    origin = getattr(model, "origin", None)
    if origin is None:
        return {}
    try:
        return translated(model, origin, used, given)
    except (TypeError, ValueError, LookupError) as e:  # lists that are none, numbers that are words ...
        raise ConfigError(f"generate: this checkpoint's settings are damaged ({e}): see model.origin.generation") from e


def translated(model: Any, origin: Any, used: int, given: Mapping[str, Any]) -> dict[str, Any]:
    theirs = dict(origin.generation or origin.config)
    theirs = {k: v for k, v in theirs.items() if v is not None}
    drawn = theirs.get("do_sample") is True and all(given.get(name) is None for name in _CHOICE)
    refuse(theirs, _LACKING | (_LACKING_DRAWN if drawn else {}), "generation" if origin.generation else "config")
    pair = hasattr(model, "encode")
    found: dict[str, Any] = {"length_norm": "length", "renormalise": False}
    found |= {ours: theirs[name] for name, ours in _SAME.items() if name in theirs}
    found |= special(origin.ids, theirs, pair, getattr(getattr(model, "decoder", model), "vocab_size", 0)) | lengths(
        theirs, used
    )
    if drawn:
        found |= {"temperature": theirs.get("temperature", 1.0), "top_k": theirs.get("top_k", 50) or None}
        found["top_p"] = theirs.get("top_p") if theirs.get("top_p", 1) < 1 else None
    elif all(given.get(name) is None for name in _CHOICE):
        found["beams"] = theirs.get("num_beams", 1)
    if (given.get("beams") or found.get("beams", 1)) > 1 and found["pad"] == 0:
        found["pad"] = None  # their beam search takes 0 for no id, and fills with eos
    most = given.get("max_new_tokens", found.get("max_new_tokens", Options.max_new_tokens))
    if isinstance(found.get("min_new_tokens"), int) and isinstance(most, int):
        found["min_new_tokens"] = min(found["min_new_tokens"], most)
    return found


def refuse(theirs: Mapping[str, Any], lacking: Mapping[str, tuple[Any, ...]], place: str) -> None:
    """Raises ConfigError for settings that are not here and would change the output. place: where they are."""
    asked = {name: theirs[name] for name, nothing in lacking.items() if name in theirs and theirs[name] not in nothing}
    if many := [words for words in theirs.get("bad_words_ids", []) if len(words) != 1]:
        asked["bad_words_ids"] = many
    if asked:
        what = ", ".join(f"{name}={value!r}" for name, value in asked.items())
        raise ConfigError(
            f"generate: this checkpoint's settings ask for {what}, which jorip does not do: take it out of "
            f"model.origin.{place} to generate without it"
        )


def special(ids: Mapping[str, Any], theirs: Mapping[str, Any], pair: bool, vocab: int) -> dict[str, Any]:
    """Options that are ids; those that are no ids of this vocabulary can never come and are left out. Where texts begin
    and end is read from config.json too where the settings do not say it."""

    def known(name: str, other: Any = None) -> tuple[int, ...]:
        value = theirs.get(f"{name}_token_id", other)
        values = value if isinstance(value, list) else [value]
        return tuple(i for i in values if isinstance(i, int) and 0 <= i < vocab)

    found: dict[str, Any] = {
        "eos": (eos := known("eos", ids.get("eos"))) or None,
        "pad": next(iter(known("pad")), None),
    }
    found["forced_last"] = min(known("forced_eos"), default=None)
    if pair:
        found["bos"] = next(
            iter((*known("decoder_start", ids.get("decoder_start")), *known("bos", ids.get("bos")))), None
        )
        found["forced_first"] = next(iter(known("forced_bos")), None)
    bad = [words[0] for words in theirs.get("bad_words_ids", []) if words[0] not in eos]
    return found | {"forbid": tuple(i for i in [*bad, *theirs.get("suppress_tokens", [])] if 0 <= i < vocab)}


def lengths(theirs: Mapping[str, Any], used: int) -> dict[str, int]:
    """max_length and min_length, where they are not said in new tokens."""
    found = {}
    for name in ("max", "min"):
        value = theirs.get(f"{name}_length")
        if isinstance(value, int) and f"{name}_new_tokens" not in theirs and value > used:
            found[f"{name}_new_tokens"] = value - used
    return found
