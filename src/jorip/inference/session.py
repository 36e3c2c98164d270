"""A model in the middle of generating: prompts go in once, then one token per sequence and step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.entry import check_tokens, enter
from jorip.core.errors import ConfigError, DataError, NonFiniteError
from jorip.core.layout import Layout, Packed, Rows
from jorip.inference.options import BOS, Options
from jorip.inference.restrict import Restriction
from jorip.parts.mixer.base import MixerModule

if TYPE_CHECKING:
    from jorip.architectures.base import Model


@contextmanager
def inferring(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; each module's own mode afterwards."""
    training = [m for m in model.modules() if m.training]
    for m in training:
        m.training = False
    try:
        with torch.inference_mode():
            yield
    finally:
        for m in training:
            m.training = True


class Session:
    """prompts: what each target starts with (packed); limits (batch,) int64 on the CPU: how many tokens each may get.

    To be made and used inside `inferring`. `start` feeds the prompts, `step` one id per row; both give the scores of
    the next tokens (rows, vocab), at least float32, -inf for what must not be generated. `select` keeps, repeats or
    reorders rows.
    """

    def __init__(self, model: Model, tokens: Tensor | Packed, mask: Tensor | None, options: Options):
        self.model, self.options = model, options
        self.stack: Any = getattr(model, "decoder", model)  # beside an encoder, or alone
        self.memory: Rows | None = None
        check_readout(self.stack, model)
        options.check_vocabulary(self.stack.vocab_size)
        values, at = enter(tokens, mask, None, None)
        if values.dtype not in (torch.int64, torch.int32):
            raise DataError(f"generate: tokens must be integer ids, found {values.dtype}")
        encode: Any = getattr(model, "encode", None)  # of an encoder-decoder
        if encode is not None:
            source = Packed(values, at.lengths, at.uid)
            self.memory = encode(source)
            bos = BOS if options.bos is None else options.bos
            if bos >= self.stack.vocab_size:
                raise ConfigError(f"generate: give bos, the id that targets start with (default {bos}: not an id here)")
            self.prompts = Packed.cat([values.new_full((1,), bos)] * at.batch)
            self.limits = self.room(0 * at.lengths)
            self.given = source
        else:
            self.prompts = self.given = started(Packed(values, at.lengths, at.uid), options.bos)
            self.limits = self.room(self.prompts.lengths)
        check_tokens(self.prompts.values, self.stack.vocab_size, Layout.of(self.prompts.lengths), self.stack.max_len)
        capacity = int(self.prompts.lengths.max()) + min(options.max_new_tokens, 256)
        self.state = model.new_state(at.batch, capacity)
        check_state(self.stack, self.state.parts)
        self.restrict = Restriction(options, self.prompts, self.limits)

    def room(self, used: Tensor) -> Tensor:
        """How many new tokens fit: max_len counts prompt and new tokens, not the bos of an encoder-decoder."""
        limit = self.options.max_new_tokens
        most = self.stack.max_len
        free = torch.full_like(used, limit) if most is None else (most - used).clamp(max=limit)
        return free.cpu()

    def start(self) -> Tensor:
        return self.run(self.prompts)

    def step(self, ids: Tensor) -> Tensor:
        """ids (rows,): the token that each row got last."""
        self.restrict.add(ids)
        return self.run(Packed(ids, torch.ones_like(ids), torch.arange(len(ids), device=ids.device)))

    def run(self, tokens: Packed) -> Tensor:
        start = self.state.lengths if bool(self.state.lengths.any()) else None
        at = Layout.of(tokens.lengths, tokens.uid, start)
        ctx = Context(mask=self.stack.mask_rule, state=self.state.parts, position=self.stack.position)
        h = self.stack.run(tokens.values, at, ctx, memory=self.memory)[-1]
        self.state.lengths = at.total
        last = h.x if at.longest == 1 else h.x[at.last()]  # the readout is wide: only where a token follows
        scores = self.stack.readout.logits(Rows(last, at), ctx)
        if not bool(torch.isfinite(scores.amax())):
            raise NonFiniteError(
                f"the model's scores for new token {self.restrict.made + 1} are not finite: a weight is damaged or "
                "training diverged; generate from an earlier checkpoint"
            )
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if self.options.beams > 1 and (self.options.repetition_penalty != 1 or not self.options.renormalise):
            scores = scores.log_softmax(1)  # what is compared, so what a penalty lowers
        scores = self.restrict(scores)
        one = self.options.beams == 1  # of several beams others may go on
        if one and self.options.no_repeat_ngram and bool((scores.amax(1) == float("-inf")).any()):
            raise nothing_left(self.options)
        return scores

    def select(self, rows: Tensor) -> None:
        """Goes on with these rows (n,) int64, in this order."""
        rows = rows.to(self.state.lengths.device)
        if len(rows) != len(self.state.lengths) or not torch.equal(rows, torch.arange(len(rows), device=rows.device)):
            self.state.select(rows)
            self.restrict.select(rows)


def started(prompts: Packed, bos: int | None) -> Packed:
    """With `bos` in front where it is missing. Raises DataError for empty prompts, which say nothing to go on from."""
    if bos is not None:
        rows = [p if len(p) and int(p[0]) == bos else torch.cat([p.new_tensor([bos]), p]) for p in prompts.split()]
        return Packed.cat(rows, prompts.uid)
    empty = (prompts.lengths == 0).nonzero()[:, 0].tolist()
    if empty:
        raise DataError(f"prompt {empty[0]} is empty: give it a token, or give bos, the id that every text starts with")
    return prompts


def nothing_left(options: Options) -> ConfigError:
    """A row may get no token at all: with few ids all n-grams have been there."""
    return ConfigError(
        f"generate: no_repeat_ngram={options.no_repeat_ngram} leaves no token that may come next in some row: "
        "raise it, or ask for fewer new tokens"
    )


def check_readout(stack: Any, model: nn.Module) -> None:
    """Raises ConfigError unless the model gives scores over its own vocabulary for every token."""
    readout = getattr(stack, "readout", None)
    if readout is None or not readout.edge:
        found = "no readout" if readout is None else f"the readout {type(readout).__name__}"
        raise ConfigError(
            f"generate: a {type(model).__name__} with {found} cannot generate: it needs a language_model readout"
        )


def check_state(stack: nn.Module, kept: dict[str, Any]) -> None:
    """Raises ConfigError naming the mixer that cannot go step by step."""
    for module in stack.modules():
        if isinstance(module, MixerModule) and module.path not in kept:
            raise ConfigError(
                f"generate: {module.path} ({type(module).__name__}) keeps no decoding state, because it is not causal "
                "here or cannot go step by step: use a decoder, and a mixer with a causal form"
            )
