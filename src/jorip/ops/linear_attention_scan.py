"""Recurrences over chunks of rows: y_c, S_(c+1) = step(S_c, inputs_c), with a backward that makes the chunks again.

Training keeps the inputs, the outputs and the state before each chunk; everything within a chunk lives only while that
chunk is worked on, in a core's cache. Memory is O(length), never O(length^2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Step:
    """One chunk: `forward(state, *inputs)` -> outputs (batch, heads, rows, dim) and the next state. The inputs are
    (batch, some heads, rows, any) each, or None.

    `backward` may be written out where autograd's own does more than is needed; it may use the outputs then.
    """

    uses_outputs = False

    def forward(self, state: Tensor, *inputs: Any) -> tuple[Tensor, Tensor]:
        raise TypeError(f"{type(self).__name__} has no forward")

    def backward(
        self, state: Tensor, inputs: list[Any], y: Any, gy: Tensor, gstate: Tensor
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Gradients of the state and of the inputs (None where not needed: those without `requires_grad`)."""
        with torch.enable_grad():
            state = state.detach().requires_grad_()
            y, after = self.forward(state, *inputs)
        wanted = [x for x in inputs if x is not None and x.requires_grad]
        found = torch.autograd.grad((y, after), [state, *wanted], (gy, gstate), allow_unused=True)
        grads = iter(found[1:])
        first = torch.zeros_like(state) if found[0] is None else found[0]
        return first, [next(grads) if x is not None and x.requires_grad else None for x in inputs]


def scan(step: Step, chunk: int, state: Tensor, *inputs: Tensor | None) -> tuple[Tensor, Tensor]:
    """All chunks of `chunk` rows, the last one maybe shorter -> outputs (batch, heads, length, dim) in the dtype of the
    last input that is a tensor, and the state after them, in the dtype of the state.

    Computed in float32 or better: sums over thousands of rows need it, whatever autocast says.
    """
    tensors = [x for x in (state, *inputs) if x is not None]
    with torch.autocast(state.device.type, enabled=False):
        if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
            return _Scan.apply(step, chunk, state, *inputs)
        return _run(step, chunk, state, inputs, None)


def precise(x: Tensor) -> Tensor:
    """In float32 or better."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def cut(inputs, s: slice) -> list[Any]:
    return [None if x is None else precise(x[:, :, s]) for x in inputs]


def like_rows(batch: int, heads: int, length: int, dim: int, of: Tensor) -> Tensor:
    """(batch, heads, length, dim), with the rows apart in memory as projections want them."""
    return of.new_empty(batch, length, heads, dim).transpose(1, 2)


def _run(step: Step, chunk: int, state: Tensor, inputs, before: list[Tensor] | None) -> tuple[Tensor, Tensor]:
    """before: gets the state before each chunk."""
    q, dtype = inputs[0], state.dtype
    state, y = precise(state), None
    for start in range(0, max(q.shape[2], 1), chunk):
        if before is not None:
            before.append(state)
        s = slice(start, start + chunk)
        part, state = step.forward(state, *cut(inputs, s))
        if y is None:
            y = like_rows(q.shape[0], part.shape[1], q.shape[2], part.shape[3], q)
        y[:, :, s] = part
    assert y is not None
    return y, state.to(dtype)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, step: Step, chunk: int, state: Tensor, *inputs):
        before: list[Tensor] = []
        y, after = _run(step, chunk, state, inputs, before)
        ctx.step, ctx.chunk, ctx.count = step, chunk, len(inputs)
        ctx.save_for_backward(*inputs, y if step.uses_outputs else None, *before)
        return y, after

    @staticmethod
    def backward(ctx, *grads):
        gy, gstate = grads
        saved, n = ctx.saved_tensors, ctx.count
        inputs, y, before = saved[:n], saved[n], saved[n + 1 :]
        needed = ctx.needs_input_grad[3:]
        whole = [
            like_rows(x.shape[0], x.shape[1], x.shape[2], x.shape[3], x) if need else None
            for x, need in zip(inputs, needed)
        ]
        dtype, gstate = gstate.dtype, precise(gstate)
        with torch.autocast(gy.device.type, enabled=False):
            for i in range(len(before) - 1, -1, -1):
                s = slice(i * ctx.chunk, (i + 1) * ctx.chunk)
                parts = [
                    x if x is None or not need else x.detach().requires_grad_()
                    for x, need in zip(cut(inputs, s), needed)
                ]
                out = None if y is None else precise(y[:, :, s])
                gstate, found = ctx.step.backward(before[i], parts, out, precise(gy[:, :, s]), gstate)
                for g, part in zip(whole, found):
                    if g is not None:
                        g[:, :, s] = 0 if part is None else part
        return None, None, gstate.to(dtype) if ctx.needs_input_grad[2] else None, *whole
