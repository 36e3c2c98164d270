"""The module of one stack, encoder or decoder: embed, stack, read out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from jorip.architectures.base import Model, Stack, check_captures, marked, training_key
from jorip.architectures.output import Output
from jorip.core.context import Context
from jorip.core.entry import check_tokens, enter
from jorip.core.layout import Packed, Rows
from jorip.core.mask import Mask
from jorip.core.random import Key
from jorip.core.state import ModelState
from jorip.parts.nodes.base import NodesModule
from jorip.parts.readout.base import ReadoutModule


class SingleStack(Model):
    """mask_rule: what self-attention may see (Everything or Causal)."""

    def __init__(
        self,
        embedding: nn.Module,
        position: nn.Module,
        layers: Stack,
        norm: nn.Module | None,
        readout: ReadoutModule | None,
        mask_rule: Mask,
        vocab_size: int,
        max_len: int | None,
        nodes: NodesModule | None = None,
    ):
        super().__init__()
        self.embedding, self.position, self.layers = embedding, position, layers
        self.norm, self.readout, self.nodes = norm, readout, nodes
        self.mask_rule, self.vocab_size, self.max_len = mask_rule, vocab_size, max_len

    def tie(self) -> None:
        tie_readout(self.readout, self.embedding, self.spec)

    def forward(
        self,
        inputs: Tensor | Packed,
        /,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        *,
        segments: Tensor | Packed | None = None,
        state: ModelState | None = None,
        targets: Tensor | Mapping[str, Tensor] | None = None,
        label_smoothing: float = 0.0,
        key: Key | None = None,
        capture: tuple[str, ...] = (),
        documents: Tensor | None = None,
        marks: Mapping[str, Tensor | Packed] | None = None,
    ) -> Output:
        """inputs (batch, length) int64 or Packed; mask (batch, length) bool, True = a real token, any side; segments
        like inputs; targets: rows of a packed batch, or (batch, length) / (batch,), or by name for readouts that have
        several, asks for a loss instead of logits; state: continue where an earlier call stopped; capture: public
        paths whose activations are wanted; documents (documents,): how many of the sequences, which are then parts of
        longer texts, belong to each; readouts decide for whole documents; marks: rows of some kind by name, bool like
        inputs, which parts ask for (`Global(tag="question")`: global rows)."""
        tokens, at = enter(inputs, mask, positions, state)
        at = marked(at, marks, self)
        check_tokens(tokens, self.vocab_size, at, self.max_len)
        ctx = Context(
            mask=self.mask_rule,
            state=state.parts if state else None,
            key=training_key(self, key),
            position=self.position,
            captures=dict.fromkeys(capture),
        )
        h = self.run(tokens, at, ctx, segments)[-1]
        out = read(self.readout, self.finish(h, documents, ctx), targets, label_smoothing, ctx, state)
        out.hidden = at.edge(h.x)  # whatever the readout read: aligned with the inputs
        check_captures(ctx.captures, self)
        if state is not None:
            state.lengths = at.total
        return out

    def finish(self, h: Rows, documents: Tensor | None, ctx: Context) -> Rows:
        """What the readout reads: the rows as they are, or those of all parts of a document as one sequence."""
        return h if documents is None else Rows(h.x, h.at.joined(documents))

    def run(
        self, tokens: Tensor, at, ctx: Context, segments: Tensor | Packed | None = None, memory: Rows | None = None
    ) -> list[Rows]:
        """The embedded rows and the rows after every layer; the last are normed."""
        if segments is not None:
            segments = segments.values if isinstance(segments, Packed) else at.take(segments)
        more: dict[str, Any] = {} if segments is None else {"segments": segments}
        x = Rows(self.embedding(tokens, at, self.position, ctx, **more), at)
        outs = self.layers(x, ctx, memory) if self.nodes is None else self.nodes(self.layers, x, ctx, memory)
        if self.norm is not None:
            outs[-1] = Rows(self.norm(outs[-1].x), outs[-1].at)
        return outs


def read(
    readout: ReadoutModule | None,
    h: Rows,
    targets: Tensor | Mapping[str, Tensor] | None,
    smoothing: float,
    ctx: Context,
    state: ModelState | None,
    memory: Rows | None = None,
) -> Output:
    """The output in the caller's form; with targets, the loss on the needed positions and no logits."""
    out = Output(hidden=h.at.edge(h.x), state=state, memory=memory, captures=ctx.captures)
    if readout is not None and targets is not None:
        out.loss = readout.loss(h, readout.placed(targets, h.at), smoothing, ctx)
    elif readout is not None:
        logits, out.pooled, more = readout.read(h, ctx)
        out.logits = h.at.edge(logits) if readout.edge and logits is not None else logits
        out.readouts = dict(more)
    out.aux_losses = {".".join(name): value for name, value in ctx.notes.items() if name[1].endswith("loss")}
    return out


def tie_readout(readout: ReadoutModule | None, embedding: nn.Module, spec) -> None:
    """One matrix for embedding and readout, again, after `to_empty`."""
    if getattr(spec.readout, "tied", False) and readout is not None:
        readout.get_submodule("out").weight = embedding.get_parameter("tokens.weight")
