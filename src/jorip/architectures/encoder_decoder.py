"""Encoder-decoder (Vaswani et al. 2017, 1706.03762; survey 2.1): the decoder's blocks also read what was encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pydantic import Field
from torch import Tensor

from jorip.architectures.base import Architecture, Model, check_captures, marked, training_key
from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder, assemble_stack, stack_costs
from jorip.architectures.output import Output
from jorip.architectures.single import SingleStack, read
from jorip.core.context import Context
from jorip.core.cost import Cost, Shape
from jorip.core.entry import check_tokens, enter
from jorip.core.errors import DataError, SpecError
from jorip.core.layout import Layout, Packed, Rows
from jorip.core.random import Key
from jorip.core.site import Site
from jorip.core.state import ModelState


class EncoderDecoder(Architecture):
    """encoder and decoder have sizes of their own; share: "embeddings" makes both sides use one token table (one shared
    vocabulary; with a tied readout this is the paper's three-way sharing), "none" keeps them apart.

    start: an id. Where a call gives no target, the decoder then reads the source itself, one place later behind this
    id, and a readout decides from its rows: how BART classifies and finds answers (Lewis et al. 2019, 1910.13461, 3.1
    and 3.2). None = every call gives a target."""

    encoder: Encoder
    decoder: Decoder
    share: Literal["embeddings", "none"] = "none"
    start: int | None = Field(default=None, ge=0)

    def site(self) -> Site:
        if self.share == "embeddings":
            for field in ("vocab_size", "d_model"):
                a, b = getattr(self.encoder, field), getattr(self.decoder, field)
                if a != b:
                    raise SpecError(f"shared embeddings need equal {field}, found {a} (encoder) and {b} (decoder)")
        if self.start is not None and self.start >= self.decoder.vocab_size:
            raise SpecError(f"start must be an id, 0 to {self.decoder.vocab_size - 1}, found {self.start}")
        return self.decoder.site("decoder", self.encoder.d_model)

    def assemble(self, site: Site) -> EncoderDecoderModel:
        encoder = assemble_stack(self.encoder, self.encoder.site("encoder"))
        decoder = assemble_stack(self.decoder, site)
        encoder.spec, decoder.spec = self.encoder, self.decoder
        model = EncoderDecoderModel(encoder, decoder)
        model.spec = self
        model.tie()
        return model

    def n_sublayers(self) -> int:
        return 2 * self.encoder.n_layers + 3 * self.decoder.n_layers

    def costs(self, shape: Shape) -> dict[str, Cost]:
        """shape.length is the target's, shape.memory the source's (0: the same)."""
        memory = shape.memory or shape.length
        source = Shape(shape.batch, memory)
        here = Shape(shape.batch, shape.length, memory)
        encoder = stack_costs(self.encoder, self.encoder.site("encoder"), source)
        if self.decoder.n_layers:  # its layers all keep the memory, once
            path, last = next(reversed(encoder.items()))
            rows = source.rows * self.encoder.d_model
            encoder[path] = replace(last, activations=last.activations + rows, work=last.working)
        return encoder | stack_costs(self.decoder, self.site(), here)


class EncoderDecoderModel(Model):
    def __init__(self, encoder: SingleStack, decoder: SingleStack):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def tie(self) -> None:
        assert isinstance(self.spec, EncoderDecoder)
        if self.spec.share == "embeddings":
            tokens = self.encoder.embedding.get_parameter("tokens.weight")
            self.decoder.embedding.get_submodule("tokens").weight = tokens
        self.encoder.tie()
        self.decoder.tie()

    def encode(
        self,
        source: Tensor | Packed,
        mask: Tensor | None = None,
        key: Key | None = None,
        captures: dict[str, Tensor | None] | None = None,
        notes: dict[tuple[str, str], Tensor] | None = None,
        marks: Mapping[str, Tensor | Packed] | None = None,
    ) -> Rows:
        """The memory that the decoder reads. captures: public paths; their activations are written into it. notes: gets
        what the encoder's parts note (`core.context`), such as auxiliary losses. marks: of the source's rows."""
        tokens, at = enter(source, mask, None, None)
        at = marked(at, marks, self.encoder)
        check_tokens(tokens, self.encoder.vocab_size, at, self.encoder.max_len)
        ctx = Context(mask=self.encoder.mask_rule, key=key, position=self.encoder.position)
        ctx.captures = {} if captures is None else captures
        ctx.notes = {} if notes is None else notes
        return self.encoder.run(tokens, at, ctx)[-1]

    def forward(
        self,
        source: Tensor | Packed | None,
        target: Tensor | Packed | None = None,
        /,
        *,
        source_mask: Tensor | None = None,
        target_mask: Tensor | None = None,
        memory: Rows | None = None,
        state: ModelState | None = None,
        targets: Tensor | None = None,
        label_smoothing: float = 0.0,
        key: Key | None = None,
        capture: tuple[str, ...] = (),
        source_marks: Mapping[str, Tensor | Packed] | None = None,
    ) -> Output:
        """source and target (batch, length) int64 or Packed; target is the decoder's input, None = the source behind
        the spec's `start`, in the source's form. `memory` (from `encode`) replaces the source. With targets: the loss
        instead of logits. source_marks: rows of some kind by name, bool like the source, which the encoder's parts ask
        for."""
        key, captures = training_key(self, key), dict.fromkeys(capture)
        notes: dict[tuple[str, str], Tensor] = {}
        if memory is None:
            if source is None:
                raise DataError("give the source, or the memory that encode(source) returned")
            memory = self.encode(source, source_mask, key, captures, notes, source_marks)
        elif source_marks:
            raise DataError("source_marks are read while encoding: give them to encode(source, marks=...)")
        if target is None:
            tokens, at = self.shifted(source, source_mask)
        else:
            tokens, at = enter(target, target_mask, None, state)
        check_tokens(tokens, self.decoder.vocab_size, at, self.decoder.max_len)
        if at.batch != memory.at.batch and state is None:
            raise DataError(f"{memory.at.batch} sources but {at.batch} targets: they must be pairs")
        ctx = Context(
            mask=self.decoder.mask_rule,
            state=state.parts if state else None,
            key=key,
            position=self.decoder.position,
            captures=captures,
            notes=notes,
        )
        h = self.decoder.run(tokens, at, ctx, memory=memory)[-1]
        check_captures(captures, self)
        if state is not None:
            state.lengths = at.total
        return read(self.decoder.readout, h, targets, label_smoothing, ctx, state, memory)

    def shifted(self, source: Tensor | Packed | None, mask: Tensor | None) -> tuple[Tensor, Layout]:
        """The source's rows one place later in each sequence, `start` first; the last token falls off."""
        assert isinstance(self.spec, EncoderDecoder)
        start = self.spec.start
        if start is None or source is None:
            raise DataError(
                "give the target, which the decoder reads: only a model with `start` makes one, from its source"
            )
        tokens, at = enter(source, mask, None, None)
        late = tokens.roll(1)
        late[(at.lengths.cumsum(0) - at.lengths)[at.lengths > 0]] = start
        return late, at
