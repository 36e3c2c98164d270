"""Generation: greedy, sampled, beam search, streaming; one function for decoders and encoder-decoders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jorip.core.errors import ConfigError, DataError, did_you_mean
from jorip.core.layout import Packed
from jorip.inference.beam import beam
from jorip.inference.defaults import defaults
from jorip.inference.generated import Generated
from jorip.inference.greedy import Choose, collect, greedy, one_by_one
from jorip.inference.options import Options
from jorip.inference.sample import Sample
from jorip.inference.session import Session, inferring

if TYPE_CHECKING:
    from jorip.architectures.base import Model


def generate(model: Model, tokens: Tensor | Packed, mask: Tensor | None = None, **options: Any) -> Tensor:
    """The new tokens only: (batch, <= max_new_tokens) int64. A batch of mixed lengths gives what its rows give alone.

    tokens       prompts of a decoder, sources of an encoder-decoder: (batch, length) int64 with `mask`, padded on any
                 side, or Packed
    max_new_tokens  default 64
    beams        1 (default): greedy, unless a temperature, top_k or top_p asks for sampling; more: beam search
                 (`inference.beam`)
    temperature  divides the scores; None with top_k or top_p means 1; 0 is greedy
    top_k, top_p only the k likeliest; only the likeliest that together have probability p; temperature comes first
    seed         of sampling: the same seed, prompts and options give the same tokens; None draws one from torch's
                 global generator
    eos          ends a row and is its last token; several: each of them does. None: nothing ends a row early
    pad          what stands after the end of a row, default eos; without eos, what max_len cuts shorter than its
                 neighbours is filled with -1
    bos          encoder-decoder: what the target starts with, None = 1, jorip's own <bos>. Decoder: put before prompts
                 that do not start with it, None = nothing
    forced_first, forced_last  the first new token is this one; the last that still fits is this one
    min_new_tokens  eos is not generated before
    forbid       ids that are never generated
    no_repeat_ngram  n: no n tokens in a row come twice, a decoder's prompt included; 0 (default): nothing is forbidden
    repetition_penalty  divides the scores of tokens that are there already (multiplies them below 0); default 1

    Of beam search alone:
    length_penalty  default 1; 0 = compare sums, more = longer
    length_norm  "google" (default): log p / ((5 + n) / 6)^length_penalty; "length": log p / n^length_penalty
    early_stopping  False (default), True or "never": when a sequence is done
    renormalise  whether probabilities add up to 1 again after tokens were forbidden (default), or stay the model's

    A model that was loaded from somebody else's checkpoint has other defaults: its own special ids and its makers'
    settings, as transformers reads them (`inference.defaults`). None is an answer too: eos=None ends no row early.

    A row stops early where prompt and new tokens reach the model's max_len (`decode` says which rows did). Every causal
    mixer works. Raises ConfigError for options that mean nothing and models that cannot generate, DataError for prompts
    that are empty, longer than max_len or not of this vocabulary, NonFiniteError when scores are not numbers.
    """
    return decode(model, tokens, mask, **options).tokens


def decode(model: Model, tokens: Tensor | Packed, mask: Tensor | None = None, **options: Any) -> Generated:
    """`generate`, with each row's length, score and why it ended."""
    asked = complete(model, tokens, options)
    if not rows_of(tokens):
        none = torch.zeros(0, dtype=torch.int64)
        return Generated(none[:, None][:, :0], none, [], none.double())
    with inferring(model):
        session = Session(model, tokens, mask, asked)
        found = beam(session) if asked.beams > 1 else collect(session, choice(asked, session))
    return found.usable()


def stream(model: Model, tokens: Tensor | Packed, mask: Tensor | None = None, **options: Any) -> Iterator[Tensor]:
    """Yields the columns of `generate`'s result as they are made: (batch,) int64 each. All options but beams."""
    asked = complete(model, tokens, options)
    if asked.beams > 1:
        raise ConfigError("stream: beam search knows its tokens only at the end: use generate, or beams=1")
    if not rows_of(tokens):
        return iter(())
    with inferring(model):
        session = Session(model, tokens, mask, asked)
        choose = choice(asked, session)
    return columns(session, choose)


def complete(model: Model, tokens: Tensor | Packed, options: dict[str, Any]) -> Options:
    """With what the model's checkpoint says where the caller says nothing."""
    names = [f.name for f in fields(Options)]
    if unknown := [name for name in options if name not in names]:
        raise ConfigError(f"generate: there is no option {unknown[0]!r}{did_you_mean(unknown[0], names)}")
    if not isinstance(tokens, Tensor | Packed):
        raise DataError(
            f"generate: tokens are a tensor (batch, length) of ids, or Packed, found {type(tokens).__name__}: "
            "torch.tensor([[...]])"
        )
    if isinstance(tokens, Packed):
        width = int(tokens.lengths.max()) if len(tokens.lengths) else 0
    else:
        width = tokens.shape[-1]
    return Options(**(defaults(model, 1 if hasattr(model, "encode") else width, options) | options))


def rows_of(tokens: Tensor | Packed) -> int:
    return len(tokens.lengths if isinstance(tokens, Packed) else tokens)


def columns(session: Session, choose: Choose) -> Iterator[Tensor]:
    """Modes are set while a step runs only: what the caller does between two steps is its own."""
    steps = one_by_one(session, choose)
    while True:
        with inferring(session.model):
            found = next(steps, None)
        if found is None:
            return
        rows, ids, _ = found
        column = torch.full((len(session.limits),), session.options.fill, device=ids.device)
        column[rows.to(ids.device)] = ids
        yield column


def choice(options: Options, session: Session) -> Choose:
    return Sample(options, session.given) if options.sampled else greedy
