"""What a caller may ask of generation, checked before any work is done."""

from __future__ import annotations

from dataclasses import dataclass

from jorip.core.errors import ConfigError
from jorip.core.random import Key

BOS = 1  # <bos> of jorip's own tokenizers: what targets start with unless the caller says otherwise
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
    eos: int | None = None
    bos: int | None = None
    length_penalty: float = 1.0
    min_new_tokens: int = 0
    forbid: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raises ConfigError for values and combinations that mean nothing."""
        for name, low in (("max_new_tokens", 0), ("beams", 1), ("min_new_tokens", 0), ("top_k", 1)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < low):
                raise ConfigError(f"generate: {name} must be a whole number of at least {low}, found {value!r}")
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
        return FILL if self.eos is None else self.eos

    def check_vocabulary(self, size: int) -> None:
        """Raises ConfigError for ids outside the vocabulary, and when nothing is left to generate."""
        for name, ids in (("eos", (self.eos,)), ("bos", (self.bos,)), ("forbid", self.forbid)):
            for i in ids:
                if i is not None and not 0 <= i < size:
                    raise ConfigError(f"generate: {name} must be an id of the vocabulary, 0 to {size - 1}, found {i}")
        barred = set(self.forbid) | ({self.eos} if self.min_new_tokens and self.eos is not None else set())
        if len(barred) >= size:
            raise ConfigError(f"generate: forbid leaves none of the {size} tokens of the vocabulary")
