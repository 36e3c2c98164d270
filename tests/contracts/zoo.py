"""The cases that contract tests run over: every registered part with its examples, on tiny sites, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from jorip.architectures.base import Model
from jorip.architectures.decoder import Decoder
from jorip.architectures.encoder import Encoder
from jorip.blocks.pre_norm import PreNorm
from jorip.core.context import Context
from jorip.core.errors import Refused
from jorip.core.init import Xavier, initialise
from jorip.core.layout import Layout, Packed, Rows
from jorip.core.mask import Causal, Everything
from jorip.core.site import Site
from jorip.core.spec import Spec
from jorip.parts.mixer.base import Mixer, MixerModule
from jorip.parts.nodes.base import Nodes

WIDTH, VOCAB, LONGEST = 8, 13, 16
LENGTHS = (5, 1, 7, 3)


def site(causal: bool = False, cross: bool = False, **changes) -> Site:
    """A small layer in the middle of a stack (index 1, so that dilations differ from 1)."""
    plain = Site("layers.1.mixer", d_model=WIDTH, n_heads=2, n_kv_heads=2, head_dim=4, max_len=LONGEST)
    plain = replace(plain, causal=causal, cross=cross, d_memory=6 if cross else None, index=1, n_layers=3)
    return replace(plain, **changes)


def members(family: type[Spec]) -> list:
    """Every member's every example, as pytest parameters with readable names."""
    cases = []
    for name, member in family.members().items():
        for i, example in enumerate(member.examples()):
            inner = getattr(example, "mechanism", None)
            cases.append(pytest.param(example, id=f"{name}-{inner.kind}-{i}" if inner else f"{name}-{i}"))
    return cases


def fits(spec: Mixer | Nodes, at: Site) -> bool:
    try:
        spec.check(at)
    except Refused:
        return False
    return True


def mixers(causal: bool, cross: bool = False) -> list:
    """The mixer examples that such a site takes."""
    return [p for p in members(Mixer) if fits(p.values[0], site(causal, cross))]


SITES = [
    pytest.param(p.values[0], causal, id=f"{p.id}-{'causal' if causal else 'both'}")
    for causal in (False, True)
    for p in mixers(causal)
]


def build(spec, at: Site, dtype=torch.float64, seed: int = 0):
    """A part alone, filled."""
    module = spec.build(at).to(dtype)
    initialise(module, Xavier(), 6, seed)
    with torch.no_grad():  # biases that are zero hide mistakes
        for name, p in module.named_parameters():
            if "bias" in name:
                p.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(seed))
    return module


def context(at: Site, **more) -> Context:
    return Context(mask=Causal() if at.causal else Everything(), **more)


def rows(lengths=LENGTHS, width: int = WIDTH, seed: int = 0, dtype=torch.float64) -> Rows:
    g = torch.Generator().manual_seed(seed)
    return Rows(torch.randn(sum(lengths), width, generator=g, dtype=dtype), Layout.of(torch.tensor(lengths)))


def apply(module: MixerModule, x: Rows, at: Site, memory: Rows | None = None, **more) -> Tensor:
    return module(x, {}, context(at, **more), memory)[0]


def nodes(mixer: Mixer, causal: bool) -> Nodes | None:
    """The external nodes without which this mixer is refused."""
    plain = site(causal)
    if fits(mixer, plain):
        return None
    every = (Nodes.parse(n) for n in mixer.nodes)
    return next((n for n in every if fits(n, plain) and fits(mixer, n.inside(plain))), None)


NODE_SITES = [
    pytest.param(p.values[0], causal, id=f"{p.id}-{'causal' if causal else 'both'}")
    for causal in (False, True)
    for p in members(Mixer)
    if nodes(p.values[0], causal) is not None
]


def model(mixer: Mixer, causal: bool, dtype=torch.float64, **changes) -> Model:
    """Three layers with this mixer, as a user would build them."""
    kind = Decoder if causal else Encoder
    more: dict[str, Any] = {"nodes": nodes(mixer, causal), "max_len": LONGEST} | changes
    spec = kind(vocab_size=VOCAB, d_model=WIDTH, n_layers=3, n_heads=2, layer=PreNorm(mixer=mixer), **more)
    return spec.build(dtype=dtype, seed=1).eval()


def tokens(lengths=LENGTHS, seed: int = 0) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randint(0, VOCAB, (n,), generator=g) for n in lengths]


def padded(sequences: list[Tensor], where: str, width: int | None = None) -> tuple[Tensor, Tensor]:
    """(batch, width) tokens and mask with padding "left", "right" or "inside"; what lies under padding is noise."""
    width = width or max(len(s) for s in sequences) + 2
    ids = torch.randint(0, VOCAB, (len(sequences), width), generator=torch.Generator().manual_seed(9))
    mask = torch.zeros(len(sequences), width, dtype=torch.bool)
    for i, s in enumerate(sequences):
        if where == "inside":
            order = torch.randperm(width, generator=torch.Generator().manual_seed(i))[: len(s)].sort().values
        else:
            order = torch.arange(len(s)) + (width - len(s) if where == "left" else 0)
        ids[i, order], mask[i, order] = s, True
    return ids, mask


def packed(sequences: list[Tensor]) -> Packed:
    return Packed.cat(sequences)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
