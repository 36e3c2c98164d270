"""Linear maps of the same rows, y_i = x W_i^T + b_i, as one product: fewer and larger calls.

Many rows on a CPU with AVX-512 go through oneDNN, whose products are a sixth faster there than what `F.linear` calls
and which adds the bias on the way (benchmarks/NOTES.md); the backward adds up the gradients of x in place, without
joining those of the answers first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MANY = 2**20  # numbers in an answer from which on a call of oneDNN costs less than it saves
_product: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_pack: Any = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
_watched: Any = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 0)
_FAST = (
    _product is not None
    and _pack is not None
    and torch.backends.mkldnn.is_available()
    and torch.backends.cpu.get_cpu_capability() == "AVX512"
)


def linears(x: Tensor, maps: Sequence[nn.Linear]) -> list[Tensor]:
    """x (rows, width) -> (rows, out features) each: views of one tensor. All maps have a bias, or none has."""
    weights, biases = [m.weight for m in maps], [m.bias for m in maps if m.bias is not None]
    if _fits(x, weights):
        return list(_Linears.apply(x, len(maps), *weights, *biases))
    return list(F.linear(x, joined(weights), joined(biases) if biases else None).split([len(w) for w in weights], -1))


def joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _fits(x: Tensor, weights: Sequence[Tensor]) -> bool:
    return (
        _FAST
        and x.shape[0] * sum(len(w) for w in weights) >= MANY
        and type(x) is Tensor
        and all(type(w) in (Tensor, nn.Parameter) and w.dtype == x.dtype == torch.float32 for w in weights)
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not _watched()  # by a counter of operations, say, which knows torch's own
    )


def _mapped(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _product(x, _pack(weight, len(x)), bias, "none", [], "")


class _Linears(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, count: int, *parameters: Tensor):
        weights, biases = parameters[:count], parameters[count:]
        y = _mapped(x, joined(weights), joined(biases) if biases else None)
        ctx.save_for_backward(x, *weights)
        ctx.biased = bool(biases)
        return y.split([len(w) for w in weights], -1)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        x, *weights = ctx.saved_tensors
        gx = None
        if ctx.needs_input_grad[0]:
            if torch.is_grad_enabled():  # a graph of this backward is wanted: nothing may happen in place
                gx = sum((g @ w for g, w in zip(grads, weights)), torch.zeros_like(x))
            else:
                gx = _mapped(grads[0], weights[0].T.contiguous(), None)
                for g, w in zip(grads[1:], weights[1:]):
                    gx.addmm_(g, w)
        needed = ctx.needs_input_grad[2:]
        gw = [g.T @ x if n else None for g, n in zip(grads, needed)]
        gb = [g.sum(0) if n else None for g, n in zip(grads, needed[len(grads) :])] if ctx.biased else []
        return gx, None, *gw, *gb
