"""What all architectures share: the spec that sizes are written on, the stack of layers, states, generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from jorip.blocks.base import Block
from jorip.blocks.layers import Each
from jorip.core import plugin
from jorip.core.context import Context
from jorip.core.cost import CostTree, Shape
from jorip.core.entry import mark
from jorip.core.errors import ConfigError, SpecError, did_you_mean
from jorip.core.init import Init, Xavier, initialise
from jorip.core.layout import Layout, Packed, Rows
from jorip.core.random import Key
from jorip.core.site import Site
from jorip.core.spec import FORMAT, Spec
from jorip.core.state import ModelState
from jorip.parts.attention.base import MechanismModule
from jorip.parts.mixer.base import MixerModule


class Architecture(Spec, family=True, package="jorip.architectures"):
    """Family of whole models."""

    init: Init = Xavier()

    def build(self, *, device=None, dtype: torch.dtype | None = None, seed: int | None = None) -> Model:
        """An `nn.Module`. seed: of the initial weights; None draws one from torch's generator. device "meta" allocates
        nothing."""
        with torch.device("meta"):
            model = self.assemble(self.site())
        model.spec = self
        if dtype is not None:
            model.to(dtype)
        if device is not None and torch.device(device).type == "meta":
            return model
        model.to_empty(device=device or "cpu")
        model.tie()
        seed = int(torch.randint(2**31 - 1, ())) if seed is None else seed
        initialise(model, self.init, self.n_sublayers(), seed)
        return model

    def site(self) -> Site:
        raise TypeError(f"{self.kind} has no site")

    def assemble(self, site: Site) -> Model:
        """The module tree, uninitialised. Raises Refused or SpecError when the parts do not fit."""
        raise TypeError(f"{self.kind} cannot be built")

    def n_sublayers(self) -> int:
        """Residual sub-layers, which some initialisation laws scale by."""
        raise TypeError(f"{self.kind} has no layers")

    def costs(self, shape: Shape) -> dict[str, Any]:
        raise TypeError(f"{self.kind} has no cost")

    def cost(self, shape: Shape) -> CostTree:
        """Parameters exactly (from a meta build), MACs, activations, state and working memory by part."""
        model = self.build(device="meta")
        tree = CostTree(parts=self.costs(shape), shape=shape)
        order = {path: i for i, path in enumerate(tree.parts)}
        uses: dict[int, list[str]] = {}
        for name, p in model.named_parameters(remove_duplicate=False):
            owner = max((path for path in tree.parts if name.startswith(path + ".")), key=len, default=name)
            if id(p) not in uses:
                tree.parameters[owner] = tree.parameters.get(owner, 0) + p.numel()
            uses.setdefault(id(p), []).append(owner if owner in order else next(iter(order)))
        sizes = {id(p): p.numel() for p in model.parameters()}
        for p, owners in uses.items():
            *earlier, last = sorted(set(owners), key=order.__getitem__)
            tree.gradients[last] = tree.gradients.get(last, 0) + sizes[p]
            for path in earlier:
                tree.again[path] = tree.again.get(path, 0) + sizes[p]
        tree.total_parameters = sum(tree.parameters.values())
        return tree

    def to_dict(self) -> dict[str, Any]:
        used = plugin.used_by(self)
        return {"format": FORMAT} | ({"plugins": used} if used else {}) | super().to_dict()


def from_dict(saved: dict[str, Any]) -> Architecture:
    """The spec that `to_dict` wrote. Raises SpecError for a newer format or unknown parts, ConfigError for parts of a
    plugin that is not loaded."""
    saved = dict(saved)
    version = saved.pop("format", FORMAT)
    if not isinstance(version, int) or version > FORMAT:
        raise SpecError(f"this spec has format {version!r}, this jorip reads up to {FORMAT}: install a newer jorip")
    plugin.check(saved.pop("plugins", []))
    return Architecture.parse(saved)


class Stacked(Architecture, abstract=True):
    """Sizes of one stack of layers. n_kv_heads None = n_heads (fewer: grouped queries, 1: multi-query); head_dim None =
    d_model / n_heads; max_len None = nothing limits the length."""

    vocab_size: int = Field(gt=0, le=2**24)
    d_model: int = Field(default=256, gt=0, le=2**17)
    n_layers: int = Field(default=4, ge=0, le=4096)
    n_heads: int = Field(default=4, gt=0, le=4096)
    n_kv_heads: int | None = Field(default=None, gt=0)
    head_dim: int | None = Field(default=None, gt=0, le=2**16)
    max_len: int | None = Field(default=None, gt=0, le=2**28)
    if TYPE_CHECKING:  # a field of every member, whose default is its own
        layer: Block

    @field_validator("layer", mode="before", check_fields=False)
    @classmethod
    def _tuple(cls, value):
        return Each(blocks=tuple(value)) if isinstance(value, tuple | list) else value

    def site(self, path: str = "", d_memory: int | None = None) -> Site:
        """path: where the stack is in a model of several. d_memory: the width of the memory that it reads, if any."""
        raise TypeError(f"{self.kind} has no site")

    def heads_site(self, path: str, **more) -> Site:
        if self.head_dim is None and self.d_model % self.n_heads:
            raise SpecError(
                f"{path or self.kind}: d_model must be a multiple of n_heads, found {self.d_model} and {self.n_heads}: "
                "change one, or set head_dim"
            )
        return Site(
            path=path,
            d_model=self.d_model,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads or self.n_heads,
            head_dim=self.head_dim or self.d_model // self.n_heads,
            max_len=self.max_len,
            n_layers=self.n_layers,
            **more,
        )

    def layer_sites(self, site: Site) -> list[tuple[Block, Site]]:
        layer = self.layer
        if isinstance(layer, Each) and len(layer.blocks) != self.n_layers:
            raise SpecError(f"{self.kind}: layer names {len(layer.blocks)} blocks, n_layers is {self.n_layers}")
        return [(layer.of(i), site.at(f"layers.{i}", index=i)) for i in range(self.n_layers)]

    def children(self, unrolled: bool = False) -> dict[str, Any]:
        fields = super().children()
        if not unrolled:
            return fields
        layer: Block = fields.pop("layer")
        return fields | {f"layers.{i}": layer.of(i) for i in range(self.n_layers)}

    def replace_at(self, head: str, rest: str, value: Any) -> Self:
        if head != "layers":
            return super().replace_at(head, rest, value)
        number, _, rest = rest.partition(".")
        if not number.isdigit() or int(number) >= self.n_layers:
            raise SpecError(f"{self.kind} has layers 0 to {self.n_layers - 1}, found {number!r}")
        blocks = [self.layer.of(i) for i in range(self.n_layers)]
        i = int(number)
        blocks[i] = blocks[i].override({rest: value}) if rest else Block.parse(value)
        return self.with_fields(layer=Each(blocks=tuple(blocks)))

    def n_sublayers(self) -> int:
        return 2 * self.n_layers


class Model(nn.Module):
    """Base of built architectures."""

    spec: Architecture
    origin: Any = None  # what a checkpoint of others said beside its weights (`exchange.origin`)

    def tie(self) -> None:
        """Makes shared parameters one again after `to_empty` split them."""

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def pretrained(self) -> Model:
        """What goes on to other tasks: itself, unless it is several networks of which one does."""
        return self

    def new_state(self, batch: int, capacity: int = 64) -> ModelState:
        """An empty decoding state for `batch` sequences; `capacity` rows are preallocated, more are added if needed."""
        device = next(self.parameters()).device
        parts = {}
        for module in self.modules():
            if isinstance(module, MixerModule):
                state = module.new_state(batch, capacity, self.dtype, device)
                if state is not None:
                    parts[module.path] = state
        if not parts and any(isinstance(module, MixerModule) for module in self.modules()):
            raise ConfigError(
                f"this {self.spec.kind} is not causal: it sees whole sequences, so it has no decoding state"
            )
        return ModelState(parts, torch.zeros(batch, dtype=torch.int64, device=device))

    def generate(self, tokens: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        """The new tokens only, (batch, <= max_new_tokens) int64: see `jorip.inference.generate`."""
        from jorip.inference.generate import generate

        return generate(self, tokens, mask=mask, **options)


class Stack(nn.ModuleList):
    """Layers one after the other; returns the rows after every layer, the input's first."""

    def forward(self, x: Rows, ctx: Context, memory: Rows | None = None) -> list[Rows]:
        outs, carry = [x], {}
        for layer in self:
            x, carry = layer(x, carry, ctx, memory)
            outs.append(x)
        return outs


def training_key(model: nn.Module, key: Key | None) -> Key | None:
    """Random draws only in training mode."""
    return (key or Key.fresh()) if model.training else None


def marked(at: Layout, marks: Mapping[str, Tensor | Packed] | None, model: nn.Module) -> Layout:
    """The layout with the caller's marks. Raises DataError for shapes that do not fit, ConfigError for marks that no
    part of the model reads."""
    known = marks_read(model) if marks else set()
    for name in marks or ():
        if name not in known:
            raise ConfigError(f"no part of this model reads marks called {name!r}{did_you_mean(name, known)}")
    return mark(at, marks)


def marks_read(model: nn.Module) -> set[str]:
    """The names of the marks that some part reads."""
    return {name for m in model.modules() if isinstance(m, MechanismModule) for name in m.reads}


def check_captures(captures: dict[str, Tensor | None], model: nn.Module) -> None:
    """Raises ConfigError when a path was asked for that has no attention map."""
    paths = [m.path for m in model.modules() if isinstance(m, MixerModule)]
    for path, found in captures.items():
        if found is None:
            raise ConfigError(
                f"there is no attention map at {path!r}: attention layers that this call runs have one"
                f"{did_you_mean(path, [p for p in paths if p != path])}"
            )
