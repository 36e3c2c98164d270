"""A model is a value: trees of small frozen specs.

A *family* is an open set of specs that can stand in one slot (mixers, norms, positions ...). A field typed by a family
accepts an instance, a name, or `{name: {field: value}}`, and writes itself back as the latter, so specs survive YAML
and JSON. Names resolve only among registered classes: nothing is ever imported because a file says so.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError, core_schema

from jorip.core.errors import SpecError, did_you_mean

FORMAT = 1  # version of the saved form; older ones are upgraded by functions on the dict


class Spec(BaseModel):
    """Base of all specs: frozen, keyword only, unknown fields are errors, types are strict."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    family: ClassVar[type[Spec] | None] = None
    package: ClassVar[str] = ""  # where the family's members live, imported when a name must be resolved
    registry: ClassVar[dict[str, type[Spec]]] = {}
    kind: ClassVar[str] = ""
    ids: ClassVar[tuple[str, ...]] = ()  # the survey's rows (taxonomy) that this part implements

    def __init__(self, **fields: Any):
        try:
            super().__init__(**fields)
        except ValidationError as e:
            raise SpecError(explain(type(self), e)) from None

    def __init_subclass__(cls, **_: Any):  # the keywords are for pydantic's own hook below
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(
        cls, family: bool = False, name: str = "", package: str = "", abstract: bool = False, **_: Any
    ):
        if family:
            cls.family, cls.registry, cls.package = cls, {}, package
        elif cls.family and not abstract:
            cls.kind = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
            other = cls.registry.get(cls.kind)
            if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
                raise TypeError(f"two parts of family {cls.family.__name__} are called {cls.kind!r}")
            cls.registry[cls.kind] = cls

    @classmethod
    def members(cls) -> dict[str, type[Self]]:
        """name -> class for the whole family, after importing the family's own folder."""
        if cls.package:
            package = importlib.import_module(cls.package)
            for module in pkgutil.walk_packages(package.__path__, cls.package + "."):
                importlib.import_module(module.name)
        return cast(dict[str, type[Self]], cls.registry)  # called on a family, as it is

    @classmethod
    def parse(cls, value: Any) -> Self:
        """An instance, a name, or `{name: {fields}}` -> an instance of this family. Underscores in a name may be left
        out.

        Raises SpecError with the closest name when it is unknown.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            value = {value: {}}
        if not isinstance(value, dict) or len(value) != 1:
            raise SpecError(f"a {cls.__name__.lower()} is written as a name or {{name: {{fields}}}}, found {value!r}")
        ((kind, fields),) = value.items()
        known = cast(dict[str, type[Self]], cls.registry)
        member = known.get(kind) or cls.members().get(kind) or cls.alike(kind)
        if member is None:
            raise SpecError(f"there is no {cls.__name__.lower()} called {kind!r}{did_you_mean(kind, cls.registry)}")
        if not isinstance(fields, dict | None):
            raise SpecError(f"{kind}: fields are written as a mapping, found {fields!r}")
        return member(**(fields or {}))

    @classmethod
    def alike(cls, kind: Any) -> type[Self] | None:
        """The only member whose name differs by underscores alone: `bigbird` is `big_bird`."""
        bare = str(kind).replace("_", "")
        found = [member for name, member in cls.members().items() if name.replace("_", "") == bare]
        return found[0] if len(found) == 1 else None

    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        if cls.__dict__.get("family") is not cls:
            return handler(source)

        def validate(value):
            try:
                return cls.parse(value)
            except SpecError as e:
                raise PydanticCustomError("spec", "{why}", {"why": str(e)}) from None

        return core_schema.no_info_plain_validator_function(
            validate, serialization=core_schema.plain_serializer_function_ser_schema(dump, when_used="always")
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema, handler):
        if cls.__dict__.get("family") is not cls:
            return handler(schema)
        names = sorted(cls.members())
        written = {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": {n: {} for n in names}}
        return {"anyOf": [{"enum": names}, written | {"additionalProperties": False}]}

    def to_dict(self) -> dict[str, Any]:
        """`{name: {all fields}}` in the terms of JSON (a tuple is a list); `from_dict` is the inverse."""
        return dump(self)

    def override(self, changes: dict[str, Any]) -> Self:
        """A copy with fields replaced by path: `{"layer.mixer.mechanism": Full(), "n_layers": 6}`.

        `**.name` reaches every field called `name` below. The result is validated again.
        Raises SpecError for a path that does not exist, with the closest one.
        """
        spec = self
        for path, value in changes.items():
            head, _, rest = path.partition(".")
            if head == "**":
                spec, count = _everywhere(spec, rest, value)
                if not count:
                    raise SpecError(f"no field called {rest!r} anywhere in {self.kind}")
            else:
                spec = spec.replace_at(head, rest, value)
        return spec

    def replace_at(self, head: str, rest: str, value: Any) -> Self:
        """One step of `override`; families with repeated members (layers) extend it."""
        fields = type(self).model_fields
        if head not in fields:
            raise SpecError(f"{self.kind or type(self).__name__} has no field {head!r}{did_you_mean(head, fields)}")
        if rest:
            child = getattr(self, head)
            if not isinstance(child, Spec):
                raise SpecError(f"{self.kind}.{head} is {child!r}: it has no field {rest!r}")
            value = child.override({rest: value})
        return self.with_fields(**{head: value})

    def children(self, unrolled: bool = False) -> dict[str, Any]:
        """Fields by name. unrolled: specs with repeated members (layers) give each its own name."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def with_fields(self, **changes: Any) -> Self:
        """A copy with own fields replaced, validated again."""
        return type(self)(**({name: getattr(self, name) for name in type(self).model_fields} | changes))


def dump(spec: Spec) -> dict[str, Any]:
    """`{name: {fields}}` in the terms of JSON, for any member of any family."""
    return {spec.kind or type(spec).__name__: spec.model_dump(mode="json")}


def _everywhere(spec: Spec, name: str, value: Any) -> tuple[Any, int]:
    changes, count = {}, 0
    for field in type(spec).model_fields:
        old = getattr(spec, field)
        if field == name:
            changes[field], count = value, count + 1
        elif isinstance(old, Spec):
            new, n = _everywhere(old, name, value)
            if n:
                changes[field], count = new, count + n
        elif isinstance(old, tuple) and any(isinstance(o, Spec) for o in old):
            news = [_everywhere(o, name, value) if isinstance(o, Spec) else (o, 0) for o in old]
            if n := sum(n for _, n in news):
                changes[field], count = tuple(o for o, _ in news), count + n
    return (spec.with_fields(**changes) if changes else spec), count


def explain(cls: type[BaseModel], error: ValidationError) -> str:
    """Pydantic's findings as sentences: where, what, the value found, what to do."""
    name = getattr(cls, "kind", "") or cls.__name__
    lines = []
    for e in error.errors():
        where = ".".join(str(x) for x in e["loc"])
        if e["type"] == "extra_forbidden":
            lines.append(f"{name} has no field {where!r}{did_you_mean(str(e['loc'][-1]), cls.model_fields)}")
        elif e["type"] == "missing":
            lines.append(f"{name} needs the field {where!r}")
        elif e["type"] == "spec":
            lines.append(f"{name}.{where}: {e['msg']}")
        elif e["type"] == "value_error":
            lines.append(f"{name}{'.' if where else ''}{where}: {e.get('ctx', {}).get('error')}")
        else:
            lines.append(f"{name}.{where}: {e['msg'][0].lower()}{e['msg'][1:]}, found {e['input']!r}")
    return "\n".join(lines)


def flatten(spec: Spec, prefix: str = "", unrolled: bool = False) -> dict[str, Any]:
    """path -> plain value; a family slot appears once as its name and once per field. unrolled: layers one by one."""
    flat: dict[str, Any] = {}
    for name, value in spec.children(unrolled).items():
        path = f"{prefix}{name}"
        if isinstance(value, Spec):
            flat[path] = value.kind
            flat |= flatten(value, path + ".", unrolled)
        elif isinstance(value, tuple) and any(isinstance(v, Spec) for v in value):
            for i, v in enumerate(value):
                flat[f"{path}.{i}"] = v.kind
                flat |= flatten(v, f"{path}.{i}.", unrolled)
        else:
            flat[path] = value
    return flat


def diff(a: Spec, b: Spec) -> str:
    """One line per path whose value differs: `path: a -> b`; `-` where one side has no such path.

    Where one of them has layers that are not all alike, layers are compared one by one: `layers.3.dropout: 0.0 -> 0.1`.
    """
    unrolled = any(".blocks." in f".{path}" for spec in (a, b) for path in flatten(spec))
    left, right = ({"": spec.kind} | flatten(spec, unrolled=unrolled) for spec in (a, b))
    lines = []
    for path in dict.fromkeys([*left, *right]):
        x, y = left.get(path, "-"), right.get(path, "-")
        if x != y:
            lines.append(f"{path or 'architecture'}: {x} -> {y}")
    return "\n".join(lines) or "no difference"
