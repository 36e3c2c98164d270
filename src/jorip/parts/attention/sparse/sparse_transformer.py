"""Sparse Transformer (A1.10; Child et al. 2019, 1904.10509): full attention in two factors, O(T sqrt(T) D) where the
stride l is about sqrt(T).

    strided:  {i-l .. i}                  and  {j : (i-j) mod l = 0}              for what repeats every l rows: images
    fixed:    {j : j div l = i div l}     and  {j : j mod l >= l - c}             for what does not: text

Two rows are two steps apart: one factor leads to a row that the other joins to the second. The sets are the paper's;
its published code has bands of one row less, which only matters where heads are split.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from jorip.core.site import Site
from jorip.parts.attention.patterns.band import Band
from jorip.parts.attention.patterns.base import Pattern
from jorip.parts.attention.patterns.blocks import Blocks
from jorip.parts.attention.patterns.per_head import PerHead
from jorip.parts.attention.patterns.strided import Fixed, Strided
from jorip.parts.attention.sparse.patterned import Patterned


class SparseTransformer(Patterned):
    """factors: "fixed" or "strided"; stride: l, best about the root of the length; count: c, the rows of each stretch
    that everybody reads, of "fixed" only. heads: "merged", every head reads both factors, or "split", the first half
    of the heads reads the first and the others the second. Where nothing is causal, bands reach to both sides."""

    ids = ("A1.10",)
    factors: Literal["fixed", "strided"] = "fixed"
    stride: int = Field(default=128, gt=0, le=2**28)
    count: int = Field(default=32, gt=0, le=2**28)
    heads: Literal["merged", "split"] = "merged"

    @model_validator(mode="after")
    def _inside(self):
        if self.factors == "fixed" and self.count > self.stride:
            raise ValueError(f"count must be at most stride, found {self.count} and {self.stride}")
        return self

    def at(self, site: Site) -> Pattern:
        near: Pattern = Blocks(size=self.stride)
        far: Pattern = Fixed(stride=self.stride, count=min(self.count, self.stride))
        if self.factors == "strided":
            near, far = Band(left=self.stride, right=self.stride), Strided(stride=self.stride)
        return near | far if self.heads == "merged" else PerHead(of=(near, far))

    @classmethod
    def examples(cls):
        return (
            cls(stride=3, count=1, executor="tiles"),
            cls(stride=2, factors="strided", executor="tiles"),
            cls(stride=3, factors="strided", heads="split"),
        )
