"""Sliding window with attention sinks (Xiao et al. 2023, StreamingLLM, 2309.17453): the last rows, and the first few
for ever, to which softmax gives the weight that it does not need. Decoding holds window + sinks rows, always.

The paper also numbers the rows that it holds anew. Here every row keeps its position, so that a step gives what the
whole sequence gives.
"""

from __future__ import annotations

from pydantic import Field

from jorip.core.site import Site
from jorip.parts.attention.patterns.band import Band
from jorip.parts.attention.patterns.base import Pattern
from jorip.parts.attention.patterns.global_ import Global
from jorip.parts.attention.sparse.patterned import Patterned


class SlidingWindow(Patterned):
    """window: in a causal stack a row sees itself and the `window - 1` rows before it, elsewhere itself and the
    `window` rows on either side, as `local` counts; sinks: first rows that all see, 4 in the paper."""

    window: int = Field(default=256, gt=0, le=2**28)
    sinks: int = Field(default=4, ge=0, le=2**20)

    def at(self, site: Site) -> Pattern:
        before, after = (self.window - 1, 0) if site.causal else (self.window, self.window)
        band = Band(left=before, right=after)
        return band | Global(first=self.sinks, rows=False) if self.sinks else band

    @classmethod
    def examples(cls):
        return (cls(window=2, sinks=1, executor="tiles"), cls(window=3, sinks=2), cls(window=2, sinks=0))
