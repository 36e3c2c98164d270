"""Global attention (A1.1, survey 4.1.1): hub rows see all and are seen by all."""

from __future__ import annotations

from pydantic import Field, model_validator
from torch import Tensor

from jorip.core.errors import Refused
from jorip.core.site import Site
from jorip.parts.attention.patterns.base import Pairs, Pattern


class Global(Pattern):
    """first, last: so many rows at the start and at the end of each sequence; tag: rows that the call marks by this
    name (`model(tokens, marks={tag: ...})`); rows: whether the hubs see everything too, besides being seen."""

    ids = ("A1.1",)
    first: int = Field(default=0, ge=0, le=2**20)
    last: int = Field(default=0, ge=0, le=2**20)
    tag: str | None = None
    rows: bool = True

    @model_validator(mode="after")
    def _some(self):
        if not (self.first or self.last or self.tag):
            raise ValueError("name the hubs: first=, last= or tag=")
        return self

    @property
    def memory(self):
        return None if self.tag or self.last else (self.first, 1)

    @property
    def uses_length(self):
        return self.last > 0

    def check(self, site: Site) -> None:
        if site.causal and self.last:
            raise Refused(f"{site.path}: the last rows cannot be global in a causal stack: nobody may see them: last=0")
        if site.causal and self.tag:
            raise Refused(
                f"{site.path}: rows marked {self.tag!r} cannot be global in a causal stack: decoding holds no marks: "
                "use first="
            )

    @property
    def hubs_read_all(self):
        return self.rows

    def hubs(self, place: Tensor, n: Tensor, marks: dict[str, Tensor]) -> Tensor:
        found = (place < self.first) | ((place >= n - self.last) & (place < n))
        return found | marks[self.tag] if self.tag else found

    def allow(self, p: Pairs):
        seen = self.hubs(p.k, p.n, p.k_marks)
        return seen | self.hubs(p.q, p.n, p.q_marks) if self.rows else seen

    @classmethod
    def examples(cls):
        return (cls(first=1), cls(first=2, rows=False))
