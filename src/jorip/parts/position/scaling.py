"""Frequencies of rotary positions for longer sequences than a model was trained on: what `Rotary(scaling=...)` takes.

w_i = base^(-2i/d) turns a pair once every 2 pi / w_i positions. Slow pairs have never gone round in training, and are
what longer sequences break; the laws below slow them down so that the new length fits into the angles that were seen.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor

from jorip.core.errors import Refused
from jorip.core.site import Site
from jorip.core.spec import Spec


class Scaling(Spec, family=True):
    """Family of the laws. `original`: the length that the frequencies were trained for; by_length: they depend on the
    longest sequence of the call."""

    by_length: ClassVar[bool] = False

    def check(self, site: Site, pairs: int) -> None:
        """Raises Refused when the law does not fit `pairs` frequencies."""

    def frequencies(self, span: Tensor, base: float, longest: int) -> Tensor:
        """Radians per position, (pairs,). span (pairs,): positions per radian before, base^(2i/d); longest: positions
        in this call, where it matters. In the dtype of span, and in an order of operations that is that of the
        checkpoints' own code, so that float32 rounds the same."""
        raise TypeError(f"{self.kind} has no frequencies")

    def amplitude(self) -> float:
        """Multiplies the rotated queries and keys."""
        return 1.0


class Linear(Scaling):
    """All of them `factor` times slower: position interpolation (Chen et al. 2023, 2306.15595)."""

    factor: float = Field(default=2.0, ge=1)

    def frequencies(self, span, base, longest):
        return 1 / span / self.factor


class Dynamic(Scaling):
    """A larger base beyond `original`: base * (factor * length / original - factor + 1)^(d / (d-2)), so nothing changes
    for short sequences ("NTK-aware", dynamic).

    The longest sequence of a call decides for all of them, as in transformers, so beyond `original` a sequence depends
    on its batch; and what decoding keeps was turned by the base of its own step.
    """

    by_length = True
    factor: float = Field(default=2.0, ge=1)
    original: int = Field(default=2048, gt=0)

    def check(self, site, pairs):
        if pairs < 2:
            raise Refused(f"{site.path}: dynamic scaling needs at least 2 pairs to turn, found {pairs}")

    def frequencies(self, span, base, longest):
        pairs, length = len(span), span.new_tensor(max(longest, self.original))
        base = base * (self.factor * length / self.original - (self.factor - 1)) ** (pairs / (pairs - 1))
        return 1 / base ** (torch.arange(0, 2 * pairs, 2, dtype=span.dtype, device=span.device) / (2 * pairs))


class Yarn(Scaling):
    """Slow pairs are interpolated, fast ones kept, with a ramp between those that turn `beta_slow` and `beta_fast`
    times in `original` positions (Peng et al. 2023, 2309.00071). attention: multiplies queries and keys, None = the
    paper's 0.1 ln(factor) + 1; truncate: the ramp's ends are whole pairs."""

    factor: float = Field(default=4.0, ge=1)
    original: int = Field(default=2048, gt=0)
    attention: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True

    def frequencies(self, span, base, longest):
        pairs = len(span)
        low, high = (self.pair(turns, pairs, base) for turns in (self.beta_fast, self.beta_slow))
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * pairs - 1)
        width = high - low or 0.001  # one pair is no ramp: a step
        kept = 1 - ((torch.arange(pairs, dtype=span.dtype, device=span.device) - low) / width).clamp(0, 1)
        return 1 / (self.factor * span) * (1 - kept) + 1 / span * kept

    def pair(self, turns: float, pairs: int, base: float) -> float:
        """The (fractional) pair that turns so many times in `original` positions."""
        return pairs * math.log(self.original / (turns * 2 * math.pi)) / math.log(base)

    def amplitude(self):
        return 0.1 * math.log(self.factor) + 1 if self.attention is None else self.attention


class Llama3(Scaling):
    """As Llama 3.1: pairs with a wavelength above original / low are `factor` times slower, those below original / high
    are kept, those between are blended (Dubey et al. 2024, 2407.21783)."""

    factor: float = Field(default=8.0, ge=1)
    low: float = Field(default=1.0, gt=0)
    high: float = Field(default=4.0, gt=0)
    original: int = Field(default=8192, gt=0)

    def check(self, site, pairs):
        if self.high <= self.low:
            raise Refused(f"{site.path}: llama3 scaling needs low below high, found {self.low} and {self.high}")

    def frequencies(self, span, base, longest):
        w = 1 / span
        kept = ((self.original / (2 * math.pi / w) - self.low) / (self.high - self.low)).clamp(0, 1)
        return (1 - kept) * w / self.factor + kept * w


class LongRope(Scaling, name="longrope"):
    """A divisor for every pair, searched for (Ding et al. 2024, 2402.13753): `short` up to `original` positions, `long`
    when the call's longest sequence has more, for all of its sequences. attention: multiplies queries and keys, None =
    sqrt(1 + ln(factor) / ln(original))."""

    by_length = True
    short: tuple[float, ...] = Field(min_length=1, max_length=2**15)
    long: tuple[float, ...] = Field(min_length=1, max_length=2**15)
    original: int = Field(default=4096, gt=1)
    factor: float = Field(default=1.0, gt=0)
    attention: float | None = None

    @field_validator("short", "long", mode="before")
    @classmethod
    def _list(cls, value):
        return tuple(value) if isinstance(value, list) else value

    def check(self, site, pairs):
        for name, divisors in (("short", self.short), ("long", self.long)):
            if len(divisors) != pairs:
                raise Refused(
                    f"{site.path}: longrope needs a divisor for each of {pairs} pairs, found {len(divisors)} in {name}"
                )

    def frequencies(self, span, base, longest):
        return 1 / (span.new_tensor(self.long if longest > self.original else self.short) * span)

    def amplitude(self):
        if self.attention is not None:
            return self.attention
        return math.sqrt(1 + math.log(self.factor) / math.log(self.original)) if self.factor > 1 else 1.0
