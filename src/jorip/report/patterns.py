"""Which keys each query sees, as pictures: of every kind of attention in a model, for a terminal and for a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jorip.architectures.base import Architecture, Stacked
from jorip.core.context import Context
from jorip.core.errors import ConfigError
from jorip.core.layout import Layout
from jorip.core.mask import Causal, Everything
from jorip.core.site import Site
from jorip.parts.attention.base import MechanismModule
from jorip.parts.attention.late import Late
from jorip.parts.mixer.base import Mixer
from jorip.parts.mixer.multi_head import MultiHead

CELLS = 48  # on a side of a picture
LENGTHS = tuple(CELLS * 2**i for i in range(6))  # the shortest is taken at which a pattern shows
_HEADS = 3  # pictures of different heads, at most


@dataclass(frozen=True)
class Picture:
    """layers: paths of the mixers that see this; name: of the mechanism; heads: whose; seen (rows, rows) bool: query by
    key; causal: whether what comes later is hidden; marked: names of marks, of which one row has each."""

    layers: tuple[str, ...]
    name: str
    heads: str
    seen: Tensor
    causal: bool
    marked: tuple[str, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether nothing is hidden but what comes later."""
        return bool((self.seen | ~visible(self.seen, self.causal)).all())

    @property
    def title(self) -> str:
        few = self.layers[0] if len(self.layers) == 1 else f"{self.layers[0]} and {len(self.layers) - 1} more"
        notes = [f"{len(self.seen)} rows", *([self.heads] if self.heads else [])]
        notes += [f"one row marked {m!r}" for m in self.marked]
        return f"{few}: {self.name} ({', '.join(notes)})"

    @property
    def shares(self) -> Tensor:
        """(cells, cells): how much of each cell is seen."""
        n = min(len(self.seen), CELLS)
        edges = torch.arange(n + 1) * len(self.seen) // n
        sums = torch.nn.functional.pad(self.seen.to(torch.float32).cumsum(0).cumsum(1), (1, 0, 1, 0))
        corners = sums[edges][:, edges]
        area = (edges[1:] - edges[:-1])[:, None] * (edges[1:] - edges[:-1])
        return (corners[1:, 1:] - corners[:-1, 1:] - corners[1:, :-1] + corners[:-1, :-1]) / area


def visible(seen: Tensor, causal: bool) -> Tensor:
    """(rows, rows) bool: what a mechanism may see at all."""
    return torch.ones_like(seen).tril() if causal else torch.ones_like(seen)


def pictures(spec: Architecture, length: int | None = None) -> list[Picture]:
    """Of each kind of self-attention that has a map. length: rows; None = as few as the pattern needs to show. Layers
    that draw at random each draw their own: the first one's is shown."""
    kinds: dict[tuple[Mixer, bool, str], list[Site]] = {}
    for side, mixer, site in mixers(spec):
        kinds.setdefault((mixer, site.causal, side), []).append(site)
    found = []
    for (mixer, causal, _), sites in kinds.items():
        if not isinstance(mixer, MultiHead):
            continue
        module = mixer.mechanism.build(sites[0])
        seen = shown(module, sites[0], length)
        for heads, one in () if seen is None else different(seen):
            layers = tuple(s.path for s in sites)
            found.append(Picture(layers, mixer.mechanism.kind, heads, one, causal, module.reads))
    return found


def mixers(spec: Architecture) -> Iterator[tuple[str, Mixer, Site]]:
    """(stack, mixer, where) of each layer of each stack."""
    sides = {n: v for n in type(spec).model_fields if isinstance(v := getattr(spec, n), Stacked)}
    for name, stack in {"": spec, **sides}.items():
        if isinstance(stack, Stacked):
            site = stack.site(name)
            nodes = getattr(stack, "nodes", None)
            for block, at in stack.layer_sites(nodes.inside(site) if nodes else site):
                if mixer := getattr(block, "mixer", None):
                    yield name, mixer, at.at("mixer")


def shown(module: MechanismModule, site: Site, length: int | None) -> Tensor | None:
    """(heads, rows, rows) bool; None for what has no map. Where `length` is None, of the shortest sequence of which a
    row sees half at most, if there is one."""
    first = None
    limit = site.max_len or LENGTHS[-1]
    for n in (length,) if length else sorted({min(n, limit) for n in LENGTHS}):
        seen = weighed(module, site, n)
        if seen is None:
            return None
        first = seen if first is None else first
        if 2 * int(seen.sum()) <= int(visible(seen[0], site.causal).sum()) * len(seen):
            return seen
    return first


def weighed(module: MechanismModule, site: Site, length: int) -> Tensor | None:
    """Where the attention map of equal scores is not zero, (heads, rows, rows)."""
    at = Layout.of(torch.tensor([length]))
    marks = dict.fromkeys(module.reads, at.order == length // 3)
    at = replace(at, tags=marks)
    streams = {n: torch.zeros(()).expand(1, s.heads, length, s.dim) for n, s in module.streams(site).items()}
    try:
        with torch.no_grad():
            late: dict[str, Any] = {n: Late.of(streams[n], at) for n in module.late}
            w = module.weights(streams | late, at, at, Context(mask=Causal() if site.causal else Everything()))
    except (TypeError, ConfigError):  # it has no map, or none for such sequences
        return None
    return None if w is None else (w[0] != 0).expand(site.n_heads, -1, -1)


def different(seen: Tensor) -> list[tuple[str, Tensor]]:
    """Groups of heads that see the same, by name; of heads that all differ only the first."""
    groups: list[tuple[list[int], Tensor]] = []
    for i, head in enumerate(seen):
        same = next((g for g, other in groups if torch.equal(other, head)), None)
        if same is None:
            groups.append(([i], head))
        else:
            same.append(i)
    if len(groups) == 1:
        return [("", seen[0])]
    if len(groups) > _HEADS:
        return [(f"head 0 of {len(seen)}, which differ", seen[0])]
    return [(f"head {g[0]}" if len(g) == 1 else f"heads {', '.join(map(str, g))}", one) for g, one in groups]


def lines(picture: Picture) -> list[str]:
    """The picture in half blocks, two cells of a column a character, framed; black where anything is seen."""
    cells = picture.shares > 0
    cells = torch.cat([cells, cells.new_zeros(len(cells) % 2, cells.shape[1])])
    rows = ["".join(" ▀▄█"[a + 2 * b] for a, b in zip(*pair)) for pair in cells.view(-1, 2, cells.shape[1]).tolist()]
    edge = "─" * cells.shape[1]
    return [f"┌{edge}┐", *(f"│{row}│" for row in rows), f"└{edge}┘"]


def chart(found: list[Picture]) -> dict[str, Any]:
    """A Vega-Lite chart: queries downwards, keys to the right, the darker the more of a cell is seen."""
    import altair as alt

    from jorip.report.charts import FONT

    each = []
    for p in found:
        shares = p.shares.tolist()
        values = [{"q": i, "k": j, "seen": round(s, 4)} for i, row in enumerate(shares) for j, s in enumerate(row)]
        axis = alt.Axis(labels=False, ticks=False, domain=False)
        square = 5 * CELLS / len(shares)
        each.append(
            alt.Chart(alt.Data(values=values), title=p.title, width=alt.Step(square), height=alt.Step(square))
            .mark_rect()
            .encode(
                x=alt.X("k:O", title="key", axis=axis),
                y=alt.Y("q:O", title="query", axis=axis),
                color=alt.Color("seen:Q", scale=alt.Scale(range=["#f2f2f2", "#1f5c99"], domain=[0, 1]), legend=None),
            )
        )
    whole = alt.concat(*each, columns=3, spacing=40)
    return whole.configure(font=FONT, background="white").configure_view(strokeWidth=0).to_dict()


def save(found: list[Picture], path: Path) -> None:
    """A PNG or an SVG, by the file's name. Raises ConfigError for other names, and where there is nothing to draw."""
    import vl_convert

    from jorip.report.draw import png

    if path.suffix.lower() not in (".png", ".svg"):
        raise ConfigError(f"a picture is a .png or .svg file, found {str(path)!r}")
    if not found:
        raise ConfigError("there is nothing to draw: no mixer of this model has an attention map")
    drawn = chart(found)
    if path.suffix.lower() == ".png":
        png(drawn, path)
    else:
        path.write_text(vl_convert.vegalite_to_svg(drawn, allowed_base_urls=[]), encoding="utf-8")
