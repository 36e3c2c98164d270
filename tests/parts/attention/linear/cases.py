"""Layers of linear attention as tests call them, and their definition, step by step in plain sight."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jorip.core.context import Context
from jorip.core.layout import Layout, Rows
from jorip.core.mask import Causal, Everything
from jorip.parts.attention.linear.linear import LinearAttention
from jorip.parts.mixer.multi_head import MultiHead
from tests.contracts.zoo import build, rows, site

MAPS = {
    "elu": {},
    "fourier": {"count": 64},
    "positive": {"count": 8},
    "rfa": {"count": 64},
    "relu": {"count": 24},
    "dpfp": {"nu": 2},
}
RULES = ("sum", "gated", "delta")
PAIRS = [(m, r) for m in MAPS for r in RULES]


def spec(map: str, rule: str, chunk: int = 3) -> MultiHead:
    linear = LinearAttention.parse({"linear": {"features": {map: MAPS[map]}, "rule": rule, "chunk": chunk}})
    return MultiHead(mechanism=linear)


def layer(mechanism: MultiHead, causal: bool = True, **sizes):
    at = site(causal, **sizes)
    return build(mechanism, at), at


def context(causal: bool, **more) -> Context:
    return Context(mask=Causal() if causal else Everything(), **more)


def one(length: int, seed: int = 0) -> Rows:
    return rows((length,), seed=seed)


def projected(module, x: Rows) -> dict[str, Tensor]:
    """Streams (1, heads, length, dim)."""
    streams, _ = module.read(x, None, context(module.causal), None)
    return streams


def definition(module, s: dict[str, Tensor], rule: str) -> Tensor:
    """(heads, length, dim): each head by itself, one row after the other, as the papers write it."""
    m = module.mechanism
    f, outs = m.features.features(), []
    queries, keys = f.queries(m.features.before(s["q"]))[0], f.keys(m.features.before(s["k"]))[0]
    for h in range(len(queries)):
        g = h * len(keys) // len(queries)
        values, matrix, total, ys = s["v"][0, g], 0.0, 0.0, []
        for t, v in enumerate(values):
            a, b = queries[h, t], keys[g, t]
            if rule == "delta":
                a, b = a / a.abs().sum(), b / b.abs().sum()
                old = b @ matrix if t else torch.zeros_like(v)
                matrix = matrix + torch.outer(b, s["beta"][0, g, t].sigmoid() * (v - old))
                ys.append(a @ matrix)
                continue
            gate = s["gate"][0, g, t].sigmoid() if rule == "gated" else None
            keep, new = (1.0, 1.0) if gate is None else (gate, 1 - gate)
            matrix, total = keep * matrix + new * torch.outer(b, v), keep * total + new * b
            ys.append(a @ matrix / (a @ total).clamp(min=f.least or 1e-300))
        outs.append(torch.stack(ys))
    return torch.stack(outs)


def attend(module, x: Rows, causal: bool = True, **more) -> Tensor:
    """(heads, length, dim) of one sequence, before the projection back."""
    s = projected(module, x)
    return module.mechanism(s, x.at, x.at, {}, context(causal, **more))[0][0]


def layouts(*lengths: int) -> Layout:
    return Layout.of(torch.tensor(lengths))


def silu_unit(x: Tensor) -> Tensor:
    y = F.silu(x)
    return y / (y.square().sum(-1, keepdim=True) + 1e-6).sqrt()
