"""Star-Transformer (A1.6; Guo et al. 2019, 1902.09113; survey 4.1.1): one global node and a band of width 3. O(TD).

Rows (satellites) see their neighbours, themselves and the hub (relay); the hub sees everything: any two rows are two
layers apart. This is the survey's form, all rows at once, every layer with weights of its own. The paper differs in
three ways: a layer updates the satellites first and the relay from the new ones, with a second set of weights; each
satellite also reads its own embedding again; and there is a layer norm after ReLU instead of a feed-forward.
"""

from __future__ import annotations

from pydantic import Field

from jorip.parts.attention.sparse.hubbed import Hubbed


class Star(Hubbed):
    """neighbours: on either side, 1 in the paper. The encoder has `nodes={hubs: {start: mean}}`: one relay, which
    starts as the mean of the rows."""

    ids = ("A1.6",)
    neighbours: int = Field(default=1, ge=0, le=2**28)

    @property
    def reach(self) -> int:
        return self.neighbours

    @classmethod
    def examples(cls):
        return (cls(), cls(executor="tiles"))
