"""The protocol of norms: rows (rows, width) -> rows (rows, width)."""

from __future__ import annotations

from torch import nn

from jorip.core.site import Site
from jorip.core.spec import Spec


class Norm(Spec, family=True, package="jorip.parts.norm"):
    """Family of normalisations."""

    def build(self, site: Site) -> nn.Module:
        raise TypeError(f"{self.kind} cannot be built")

    @classmethod
    def examples(cls) -> tuple[Norm, ...]:
        return (cls(),)
