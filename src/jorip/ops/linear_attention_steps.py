"""Causal linear attention in chunks: within a chunk the map over its pairs, across chunks the state.

A chunk of C rows takes O(C (C + size) dim) operations, all matrix products. Decays are sums of logarithms within one
chunk, and only their differences from a later row to an earlier one are ever exponentiated, so that nothing overflows.
Queries of several heads that read one key head are further rows of the same product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jorip.ops.linear_attention import Features, inverted
from jorip.ops.linear_attention_scan import Step

SHORT = 16  # rows of a block where each channel has a decay of its own
_MILD = 40.0  # of logarithms over a block: e^40 stays far inside float32


def rows(x: Tensor, heads: int) -> Tensor:
    """(batch, more heads, rows, dim) -> (batch * heads, more * rows, dim)."""
    return x.reshape(x.shape[0] * heads, x.shape[1] // heads * x.shape[2], x.shape[3])


def earlier(x: Tensor, diagonal: int = 0) -> Tensor:
    """(sequences, several times rows, rows), in place: zeros towards later rows."""
    if x.numel():
        x.view(x.shape[0], -1, x.shape[2], x.shape[2]).tril_(diagonal)
    return x


def through(*maps: tuple[Tensor, Tensor, Tensor]) -> list[Tensor | None]:
    """Gradients of what features were made from: (input, features, their gradient) each; None where not needed."""
    needed = [(x, f, g) for x, f, g in maps if x.requires_grad]
    xs, features, found = zip(*needed) if needed else ((), (), ())
    grads = iter(torch.autograd.grad(features, xs, found) if needed else ())
    return [next(grads) if x.requires_grad else None for x, _, _ in maps]


class Chunk(Step):
    """What all have in common: state (batch, key heads, size, dim), inputs q, k, v and `keep` (batch, 1, rows, 1), 0
    for rows that do not exist, or None. normalised: the last column of the state is u; together: rows of a chunk where
    nobody says how many (measured with heads of 16 to 128: benchmarks/NOTES.md)."""

    together = 128

    def __init__(self, features: Features, normalised: bool):
        self.features, self.normalised = features, normalised

    def streams(self, state: Tensor, q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None):
        """Features of queries (sequences, several times rows, size) and keys (sequences, rows, size), values with a
        column of ones where it is normalised, and the state, (sequences, size, dim)."""
        heads = k.shape[1]
        a, b = self.features.queries(rows(q, heads)), self.features.keys(k)
        b = rows(b if keep is None else b * keep, heads)
        v = rows(v, heads)
        return a, b, F.pad(v, (0, 1), value=1.0) if self.normalised else v, state.flatten(0, 1)

    def outputs(self, o: Tensor, q: Tensor) -> Tensor:
        if self.normalised:
            o = o[..., :-1] * inverted(o[..., -1:], self.features.least)[0]
        return o.view(*q.shape[:3], o.shape[-1])


class Sum(Chunk):
    """S += f(k) v^T, normalised; inputs q, k, v, keep. The backward is written out: it needs no outputs again, and the
    gradient of y = n / d is gy / d for n and -(gy y) / d for d."""

    uses_outputs = True

    def __init__(self, features: Features):
        super().__init__(features, normalised=True)

    def forward(self, state, *inputs):
        q, k, v, keep = inputs
        a, b, v, s = self.streams(state, q, k, v, keep)
        w = earlier(torch.bmm(a, b.transpose(1, 2)))
        y = torch.baddbmm(torch.bmm(a, s), w, v)
        return self.outputs(y, q), torch.baddbmm(s, b.transpose(1, 2), v).view_as(state)

    def backward(self, state, inputs, y, gy, gstate):
        q, k, v, keep = inputs
        with torch.enable_grad():
            first, second, v, s = self.streams(state, q, k, v.detach(), keep)
        a, b, gs = first.detach(), second.detach(), gstate.flatten(0, 1)
        w = earlier(torch.bmm(a, b.transpose(1, 2)))
        den = w.sum(-1, keepdim=True).add_(torch.bmm(a, s[..., -1:]))
        inverse, used = inverted(den, self.features.least)
        gy = rows(gy, k.shape[1])
        down = (gy * rows(y, k.shape[1])).sum(-1, keepdim=True).neg_()
        go = torch.cat([gy, torch.where(used, down, 0.0)], -1).mul_(inverse)
        gw = earlier(torch.bmm(go, v.transpose(1, 2)))
        ga = torch.baddbmm(torch.bmm(go, s.transpose(1, 2)), gw, b)
        gb = torch.baddbmm(torch.bmm(v, gs.transpose(1, 2)), gw.transpose(1, 2), a)
        gv = torch.baddbmm(torch.bmm(b, gs), w.transpose(1, 2), go)[..., :-1].view(inputs[2].shape)
        gs = torch.baddbmm(gs, a.transpose(1, 2), go).view_as(state)
        return gs, [*through((q, first, ga), (k, second, gb)), gv, None]


class Decayed(Chunk):
    """S = a S + f(k) v^T with one decay for a row and head; inputs q, k, v, keep, log a (batch, key heads, rows, 1)."""

    together = 64

    def forward(self, state, *inputs):
        q, k, v, keep, log = inputs
        a, b, v, s = self.streams(state, q, k, v, keep)
        total, within, more = decays(rows(log, k.shape[1]), a.shape[1])
        w = torch.bmm(a, b.transpose(1, 2)) * within
        y = torch.baddbmm(torch.bmm(a * more, s), w, v)
        left = (total[:, -1:] - total).exp()
        s = total[:, -1:].exp() * s if total.shape[1] else s
        return self.outputs(y, q), torch.baddbmm(s, (b * left).transpose(1, 2), v).view_as(state)


def decays(log: Tensor, count: int, diagonal: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """log (sequences, rows, 1) -> its sums up to each row; the decay between two rows (sequences, count, rows), zero
    towards later ones; the decay since the chunk began (sequences, count, 1); count: rows, several times."""
    total = log.cumsum(1)
    c = total.shape[1]
    later = torch.ones(c, c, dtype=torch.bool, device=log.device).triu_(diagonal + 1)
    within = (total - total.transpose(1, 2)).masked_fill(later, float("-inf")).exp()
    times = count // c if c else 1
    since = total.exp()
    return (total, within, since) if times == 1 else (total, within.repeat(1, times, 1), since.repeat(1, times, 1))


class Channels(Chunk):
    """S = diag(a) S + f(k) v^T with a decay for each row and feature; inputs q, k, v, keep, log a (batch, key heads,
    rows, size).

    In blocks of a few rows, where keys may be divided by their decay, so that one product does; blocks with a decay so
    strong that this might overflow are taken pair by pair."""

    def forward(self, state, *inputs):
        length = inputs[1].shape[2]
        whole, ys = length // SHORT * SHORT, []
        for part, size in ((slice(0, whole), SHORT), (slice(whole, length), length - whole)):
            if part.start < part.stop or not length:
                y, state = self.blocks(state, size, [None if x is None else x[:, :, part] for x in inputs])
                ys.append(y)
        return torch.cat(ys, 2), state

    def blocks(self, state: Tensor, size: int, inputs: list) -> tuple[Tensor, Tensor]:
        """Rows that are so many blocks of `size`: all of them at once, but for the state, which passes through."""
        q, k, v, keep, log = inputs
        heads, count = k.shape[1], k.shape[2] // max(size, 1)
        a, b, v, s = self.streams(state, q, k, v, keep)
        n, group, dim = len(b) * count, q.shape[1] // heads, v.shape[2]
        a = a.view(len(b), group, count, size, a.shape[2]).transpose(1, 2).reshape(n, group, size, a.shape[2])
        b, v, log = (x.reshape(n, size, x.shape[2]) for x in (b, v, rows(log, heads)))
        total = log.cumsum(1)
        last = total[:, -1:]
        faded = (a * total.exp()[:, None]).flatten(1, 2)
        if bool((last > -_MILD).all()):
            near = earlier(torch.bmm(faded, (b * (-total).exp()).transpose(1, 2)))
        else:
            later = torch.ones(size, size, dtype=torch.bool, device=q.device).triu_(1)[..., None]
            pairs = (total[:, :, None] - total[:, None]).masked_fill(later, float("-inf")).exp()
            near = torch.matmul(pairs * b[:, None], a.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).reshape(n, -1, size)
        new = torch.bmm((b * (last - total).exp()).transpose(1, 2), v).view(len(s), count, *s.shape[1:])
        left, before = last.exp().view(len(s), count, last.numel() // max(n, 1), 1), []
        for i in range(count):
            before.append(s)
            s = left[:, i] * s + new[:, i]
        past = torch.stack(before, 1).flatten(0, 1) if before else s[:0]
        y = torch.baddbmm(torch.bmm(faded, past), near, v)
        y = y.view(len(s), count, group, size, dim).transpose(1, 2).reshape(len(s), group * count * size, dim)
        return self.outputs(y, q), s.view_as(state)


class Delta(Chunk):
    """S = a (I - b f(k) f(k)^T) S + b f(k) v^T; inputs q, k, v, keep, b (batch, key heads, rows, 1), log a or None.

    With u_t = b_t (v_t - a_t S_(t-1)^T f(k_t)), what is really new in v_t, it is S = a S + f(k) u^T. The u of a chunk
    depend on each other through a triangular system (the UT transform of 2406.06484); its gradient is the transposed
    one. The backward is written out: it is a fifth faster than autograd's."""

    together = 64

    def __init__(self, features: Features):
        super().__init__(features, normalised=False)

    def forward(self, state, *inputs):
        q, k, v, keep, beta, log = inputs
        a, b, v, s = self.streams(state, q, k, v, keep)
        c = _Writing(a, b, v, s, rows(beta, k.shape[1]), None if log is None else rows(log, k.shape[1]))
        y = torch.baddbmm(torch.bmm(c.a, s), c.w, c.u)
        s = s if c.fading is None else c.fading.last * s
        return self.outputs(y, q), torch.baddbmm(s, c.left.transpose(1, 2), c.u).view_as(state)

    def backward(self, state, inputs, y, gy, gstate):
        q, k, v, keep, beta, log = inputs
        if not k.shape[2]:
            return super().backward(state, inputs, y, gy, gstate)
        heads = k.shape[1]
        with torch.enable_grad():
            first, second, v, s = self.streams(state, q, k, v.detach(), keep)
        a, b, gy, gs = first.detach(), second.detach(), rows(gy, heads), gstate.flatten(0, 1)
        c = _Writing(a, b, v, s, rows(beta.detach(), heads), None if log is None else rows(log.detach(), heads))
        gu = torch.baddbmm(torch.bmm(c.left, gs), c.w.transpose(1, 2), gy)
        x = torch.linalg.solve_triangular(c.system.transpose(1, 2), gu, upper=True, unitriangular=True)
        gv, gkk = c.beta * x, torch.bmm(x, c.u.transpose(1, 2)).tril_(-1).neg_()
        gbeta = (x * c.new).sum(-1, keepdim=True).add_((gkk * c.kk).sum(-1, keepdim=True))
        gkk, gw = gkk.mul_(c.beta), earlier(torch.bmm(gy, c.u.transpose(1, 2)))
        ga, gleft, gseen = (torch.bmm(i, j.transpose(1, 2)) for i, j in ((gy, s), (c.u, gs), (gv, s)))
        gs_before = torch.baddbmm(torch.bmm(c.a.transpose(1, 2), gy), c.seen.transpose(1, 2), gv, alpha=-1)
        glog = None
        if c.fading is not None:
            f = c.fading
            glog = f.backward(c, ga, gw, gkk, gleft, gseen, s, gs).view_as(beta)
            gleft, gseen, ga = gleft.mul_(f.until), gseen.mul_(f.since[:, : b.shape[1]]), ga.mul_(f.since)
            gw, gkk, gs = gw.mul_(f.within), gkk.mul_(f.within[:, : b.shape[1]]), f.last * gs
        ga = ga.baddbmm_(gw, b)
        gb = gleft.sub_(gseen).baddbmm_(gw.transpose(1, 2), a).baddbmm_(gkk, b).baddbmm_(gkk.transpose(1, 2), b)
        gq, gk = through((q, first, ga), (k, second, gb))
        return gs_before.add_(gs).view_as(state), [gq, gk, gv.view(inputs[2].shape), None, gbeta.view_as(beta), glog]


class _Writing:
    """What a chunk writes into the state (u), and all that this is made of. Sequences come first.

    a: queries, faded since the chunk began; w: what of u they read; seen: keys, faded as the state is that they read;
    left: keys, as they will have faded at the end; kk: earlier keys that a key finds again; new: what is new in v."""

    def __init__(self, a: Tensor, b: Tensor, v: Tensor, s: Tensor, beta: Tensor, log: Tensor | None):
        kk, w = torch.bmm(b, b.transpose(1, 2)), torch.bmm(a, b.transpose(1, 2))
        self.beta, self.a, self.seen, self.left = beta, a, b, b
        self.fading = None if log is None or not log.shape[1] else _Fading(log, a.shape[1])
        if self.fading is not None:
            f, count = self.fading, b.shape[1]
            kk, w = kk * f.within[:, :count], w * f.within
            self.a, self.seen, self.left = a * f.since, b * f.since[:, :count], b * f.until
        self.kk, self.w = kk.tril(-1), earlier(w)
        self.new = torch.baddbmm(v, self.seen, s, alpha=-1)
        self.system = beta * self.kk + torch.eye(kk.shape[1], dtype=kk.dtype, device=kk.device)
        self.u = torch.linalg.solve_triangular(self.system, beta * self.new, upper=False, unitriangular=True)


class _Fading:
    """Decays of a chunk: within it, since it began, until its end, and over all of it (last)."""

    def __init__(self, log: Tensor, count: int):
        total, self.within, self.since = decays(log, count)
        self.until, self.last = (total[:, -1:] - total).exp(), total[:, -1:].exp()

    def backward(self, c: _Writing, ga, gw, gkk, gleft, gseen, s, gs) -> Tensor:
        """(sequences, rows, 1), of the logarithms: all gradients are of what has faded already, so that each times its
        own is that of the sum of logarithms up to a row."""
        near, far = gw * c.w, gkk * c.kk
        lost, read = (gleft * c.left).sum(-1, keepdim=True), (gseen * c.seen).sum(-1, keepdim=True)
        asked = near.sum(-1, keepdim=True).add_((ga * c.a).sum(-1, keepdim=True))
        total = asked.unflatten(1, (-1, lost.shape[1])).sum(1) + far.sum(-1, keepdim=True) - lost - read
        total = total - near.sum(1)[..., None] - far.sum(1)[..., None]
        total[:, -1:] += lost.sum(1, keepdim=True) + (self.last * s * gs).sum((1, 2), keepdim=True)
        return total.flip(1).cumsum(1).flip(1)
