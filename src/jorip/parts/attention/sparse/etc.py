"""ETC (A1.8; Ainslie et al. 2020, 2004.08483; survey 4.1.1): a band over the long input and external global rows.

Four pieces: hubs to hubs (all), hubs to rows (all, or each hub its own segment), rows to hubs (all), rows to rows (a
band). O((T w + T g + g^2) D). The paper's relative position labels are not part of it: the order of the rows comes from
the stack's position encoding, and hubs are told apart by what they learn. Its projections are those of rows and hubs
alike, as in the paper's base models; the pre-training with predictive coding is an objective, not a mechanism.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from jorip.core.context import Context
from jorip.core.errors import ConfigError
from jorip.core.site import Site
from jorip.ops.attention import attention_weights, shared_heads
from jorip.ops.block_sparse import visible
from jorip.parts.attention.sparse.hubbed import Hubbed
from jorip.parts.attention.sparse.patterned import Shown, SparseAttention


class Etc(Hubbed):
    """window: rows that a row sees on either side (84 in the paper's base model). segments: the call marks by this
    name the rows at which a sentence or paragraph begins, `model(tokens, marks={segments: ...})`, and hub j then reads
    the rows of the j-th of them only, besides all hubs: the paper's mask for structured inputs. Rows read all hubs
    whatever segment they are in; those of segments for which no hub is left are read by none."""

    ids = ("A1.8",)
    window: int = Field(default=84, ge=0, le=2**28)
    segments: str | None = None

    @property
    def reach(self) -> int:
        return self.window

    def build(self, site: Site) -> SparseAttention:
        self.check(site)
        if self.segments is None:
            return super().build(site)
        return SegmentedAttention(self, self.segments, site)

    @classmethod
    def examples(cls):
        return (cls(window=2), cls(window=1, executor="tiles"))


class SegmentedAttention(SparseAttention):
    """What the hubs read is made anew, with a mask: they are few."""

    def __init__(self, spec: Etc, segments: str, site: Site):
        super().__init__(spec.at(site), site, site.head_dim**-0.5, spec.executor)
        self.segments, self.hubs, self.reads = segments, site.hubs, (segments,)

    def forward(self, s, q_at, k_at, carry, ctx: Context):
        y, carry = super().forward(s, q_at, k_at, carry, ctx)
        q, k, v = s["q"][:, :, : self.hubs], s["k"], s["v"]
        k, v = shared_heads(q, k), shared_heads(q, v)
        z = visible(q, k, v, self.read(k_at), self.scale)  # no position has a bias for hubs
        return torch.cat([z, y[:, :, self.hubs :]], 2), carry

    def weights(self, s, q_at, k_at, ctx):
        w = super().weights(s, q_at, k_at, ctx)
        hubs = s["q"][:, :, : self.hubs]
        z = attention_weights(hubs, s["k"], Shown(self.read(k_at)), q_at, k_at, self.scale)
        return torch.cat([z, w[:, :, self.hubs :]], 2)

    def read(self, at) -> Tensor:
        """(batch, 1, hubs, longest) bool: what each hub reads. Raises ConfigError where the call marks nothing."""
        if self.segments not in at.tags:
            raise ConfigError(
                f"{self.path}: each hub reads one segment here, which begins where rows are marked {self.segments!r}, "
                f"and this call marks none: pass marks={{{self.segments!r}: a bool tensor like the tokens}}"
            )
        segment = at.grid(at.tags[self.segments].to(torch.int64)).cumsum(1) - 1
        hub = torch.arange(self.hubs, device=segment.device)
        place = torch.arange(at.longest, device=segment.device)
        own = (segment[:, None] == hub[:, None]) & (place >= self.hubs)
        return ((own | (place < self.hubs)) & at.real[:, None])[:, None]
