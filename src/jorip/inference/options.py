"""What a caller may ask of generation, checked before any work is done."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeGuard, get_args

from jorip.core.errors import ConfigError, did_you_mean
from jorip.core.random import Key

BOS = 1  # <bos> of jorip's own tokenizers: what targets start with unless the caller says otherwise
LengthNorm = Literal["google", "length"]
FILL = -1  # stands after the end of a row when there is no eos to fill with: not an id, so nobody takes it for a token


@dataclass(frozen=True)
class Options:
    """See `jorip.inference.generate.generate`, whose keywords these are."""

    max_new_tokens: int = 64
    beams: int = 1
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    eos: int | Collection[int] | None = None
    bos: int | None = None
    length_penalty: float = 1.0
    min_new_tokens: int = 0
    forbid: tuple[int, ...] = ()
    pad: int | None = None
    forced_first: int | None = None
    forced_last: int | None = None
    length_norm: LengthNorm = "google"
    early_stopping: bool | Literal["never"] = False
    renormalise: bool = True
    no_repeat_ngram: int = 0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        """Raises ConfigError for values and combinations that mean nothing."""
        least = {"max_new_tokens": 0, "beams": 1, "min_new_tokens": 0, "top_k": 1, "no_repeat_ngram": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if (name, value) != ("top_k", None) and (not whole(value) or value < low):
                raise ConfigError(f"generate: {name} must be a whole number of at least {low}, found {value!r}")
        if self.seed is not None and not whole(self.seed):
            raise ConfigError(f"generate: seed must be a whole number or None, found {self.seed!r}")
        several = {"eos": () if self.eos is None or whole(self.eos) else self.eos, "forbid": self.forbid}
        for name, value in several.items():
            if not isinstance(value, Collection) or isinstance(value, str):
                raise ConfigError(f"generate: {name} must be ids, in a list or a tuple, found {value!r}")
        for name in ("temperature", "top_p", "length_penalty", "repetition_penalty"):
            value = getattr(self, name)
            if value is None and name in ("temperature", "top_p"):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
                raise ConfigError(f"generate: {name} must be a number, found {value!r}")
        if self.temperature is not None and not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"generate: temperature must be 0 (greedy) or more, found {self.temperature!r}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"generate: top_p must be above 0 and at most 1, found {self.top_p!r}")
        if self.beams > 1 and self.sampled:
            raise ConfigError(
                f"generate: beams={self.beams} searches for the likeliest sequence, temperature, top_k and top_p draw "
                "one: give one or the other"
            )
        if self.min_new_tokens > self.max_new_tokens:
            raise ConfigError(
                f"generate: min_new_tokens={self.min_new_tokens} is more than max_new_tokens={self.max_new_tokens}"
            )

        if self.length_norm not in get_args(LengthNorm):
            raise ConfigError(
                f"generate: there is no length_norm {self.length_norm!r}"
                + did_you_mean(str(self.length_norm), get_args(LengthNorm))
            )
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise ConfigError(f"generate: early_stopping must be True, False or 'never', found {self.early_stopping!r}")
        if not 0 < self.repetition_penalty < float("inf"):
            raise ConfigError(
                f"generate: repetition_penalty must be above 0 (1 changes nothing), found {self.repetition_penalty!r}"
            )

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids that end a row."""
        if self.eos is None or isinstance(self.eos, int):
            return () if self.eos is None else (self.eos,)
        return tuple(self.eos)

    @property
    def sampled(self) -> bool:
        """Whether tokens are drawn: any of temperature, top_k, top_p was given, and the temperature is not 0."""
        return any(v is not None for v in (self.temperature, self.top_k, self.top_p)) and self.temperature != 0

    @property
    def key_seed(self) -> int:
        """The seed; without one, a number from torch's global generator."""
        return Key.fresh().seed if self.seed is None else self.seed

    @property
    def fill(self) -> int:
        """What stands after the end of a row."""
        return self.pad if self.pad is not None else self.ends[0] if self.ends else FILL

    def check_vocabulary(self, size: int) -> None:
        """Raises ConfigError for ids outside the vocabulary, and when nothing is left to generate."""
        single = {n: (getattr(self, n),) for n in ("bos", "pad", "forced_first", "forced_last")}
        for name, ids in {"eos": self.ends, **single, "forbid": self.forbid}.items():
            for i in ids:
                if i is not None and not (whole(i) and 0 <= i < size):
                    raise ConfigError(f"generate: {name} must be an id of the vocabulary, 0 to {size - 1}, found {i!r}")
        barred = set(self.forbid) | set(self.ends if self.min_new_tokens else ())
        if len(barred) >= size:
            raise ConfigError(f"generate: forbid leaves none of the {size} tokens of the vocabulary")


def whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
