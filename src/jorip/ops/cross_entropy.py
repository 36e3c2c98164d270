"""Cross-entropy with label smoothing, summed over rows (survey 2.1: the loss of every use):

loss = -(1 - e) log p_t - e / V sum_v log p_v,    p = softmax(x)

The reference is torch's. The fast form makes the gradient p - (1 - e) onehot(t) - e / V while it has p at hand, so
that the vocabulary-sized tensor is written once instead of four times: log-softmax, smoothed sum, and two in the
backward pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_TINY = 1e-30  # below this a float32 probability has lost digits, and its log is taken from the scores instead


def cross_entropy_reference(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """logits (rows, classes), targets (rows,) int64 -> the sum of the rows' losses, 0-d."""
    return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """The same, in float32 or better; one gradient only (no double backward)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if not (torch.is_grad_enabled() and logits.requires_grad):
        return cross_entropy_reference(logits, targets, smoothing)
    return _CrossEntropy.apply(logits, targets, smoothing)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        p, t = x.softmax(-1), targets[:, None]
        log_p = p.gather(1, t).log_()
        lost = (log_p < torch.log(torch.tensor(_TINY))).nonzero()[:, 0]
        if len(lost):
            log_p[lost] = x[lost].gather(1, t[lost]) - x[lost].logsumexp(-1, keepdim=True)
        loss = -log_p.sum()
        if smoothing:  # sum_v log p_v / V = mean(x) - log Z, and log Z = x_t - log p_t
            loss = (1 - smoothing) * loss - smoothing * (x.mean(-1, keepdim=True) - x.gather(1, t) + log_p).sum()
            p -= smoothing / x.shape[-1]
        p.scatter_add_(1, t, torch.full_like(log_p, smoothing - 1))
        ctx.save_for_backward(p)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        (p,) = ctx.saved_tensors
        return p * grads[0], None, None
