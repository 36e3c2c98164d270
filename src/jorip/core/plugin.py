"""A researcher's own parts from one Python file: `jorip --plugin my.py ...` runs it, which registers its specs.

Only a command line says so: no YAML, spec or checkpoint ever causes an import. What is saved names the plugins that its
parts came from (file name, sha256), so that opening it without them can say what is missing.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from jorip.core.errors import ConfigError, SpecError, did_you_mean
from jorip.core.spec import Spec

_MODULE = "jorip_plugin_"  # and the first digits of the sha256: another content, another module
_TAKEN = "two parts of family"  # how a family refuses a second part of the same name


@dataclass(frozen=True)
class Plugin:
    """path: the file; sha256: of its bytes; parts: what it registered, as (family, name)."""

    path: Path
    sha256: str
    parts: tuple[tuple[type[Spec], str], ...] = ()

    @property
    def module(self) -> str:
        return f"{_MODULE}{self.sha256[:16]}"

    @property
    def names(self) -> list[str]:
        """As they are saved: `Mechanism.mine`."""
        return [f"{family.__name__}.{name}" for family, name in self.parts]

    def record(self) -> dict[str, Any]:
        """What a run keeps of it."""
        return {"name": self.path.name, "path": str(self.path.absolute()), "sha256": self.sha256}


_loaded: dict[str, Plugin] = {}  # by sha256
_other: list[Callable[[str], None]] = []  # who hears of parts whose file has changed since; nobody: an error


def loaded() -> list[Plugin]:
    """The plugins of this process."""
    return list(_loaded.values())


def arguments() -> list[str]:
    """What gives another jorip process the same plugins."""
    return [word for p in loaded() for word in ("--plugin", str(p.path))]


def load(path: str | Path) -> Plugin:
    """Runs the file and registers its parts, once for the same content.

    Raises ConfigError: no such file, not valid Python, an exception while it runs, no part in it, a name that exists.
    """
    path = Path(path)
    raw = _read(path)
    plugin = Plugin(path, hashlib.sha256(raw).hexdigest())
    if plugin.sha256 in _loaded:
        return _loaded[plugin.sha256]
    for family in families():  # every name that exists, before the file takes one
        family.members()
    try:
        code = compile(raw, str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as e:
        _refuse(path, f"not valid Python: {getattr(e, 'msg', e)}", getattr(e, "lineno", None))
    sys.modules[plugin.module] = module = ModuleType(plugin.module)
    module.__file__ = str(path)
    try:
        exec(code, module.__dict__)
    except BaseException as e:
        _forget(plugin.module)
        if isinstance(e, KeyboardInterrupt | MemoryError):
            raise
        _explain(path, e)
    parts = [(f, name) for f in families() for name, c in f.members().items() if c.__module__ == plugin.module]
    if not parts:
        _forget(plugin.module)
        _refuse(path, "registers no part: a part is a subclass of a family, `class Mine(Mechanism)` for instance")
    _loaded[plugin.sha256] = plugin = replace(plugin, parts=tuple(parts))
    return plugin


def unload() -> None:
    """Forgets all of them and their parts."""
    for plugin in loaded():
        _forget(plugin.module)
    _loaded.clear()
    _other.clear()


def allow_changed(hear: Callable[[str], None]) -> None:
    """From now on what was saved with another content of a plugin's file is opened all the same; `hear` gets a line
    that says so."""
    _other[:] = [hear]


def used_by(spec: Spec) -> list[dict[str, Any]]:
    """The plugins that parts of a spec come from: name, sha256, and those parts."""
    if not _loaded:
        return []
    kinds = _kinds(spec)
    found = [(p, sorted(kinds.get(p.module, ()))) for p in loaded()]
    return [{"name": p.path.name, "sha256": p.sha256, "parts": parts} for p, parts in found if parts]


def check(saved: Any) -> None:
    """saved: what `used_by` or `Plugin.record` said when something was saved.

    Raises ConfigError when one of them is missing or has changed since; SpecError when it is nothing of the kind.
    """
    for one in saved if isinstance(saved, list) else [saved]:
        if not isinstance(one, dict) or not all(isinstance(one.get(k), str) for k in ("name", "sha256")):
            raise SpecError(f"plugins: each is a mapping with name, sha256 and parts, found {one!r}")
        name, want = one["name"], one["sha256"]
        if want in _loaded:
            continue
        now = next((p for p in loaded() if p.path.name == name or set(p.names) & _names(one)), None)
        if now is not None:
            text = f"this model was made with the plugin {name} of sha256 {want[:12]}"
            text += f", --plugin {now.path} has {now.sha256[:12]}"
            if not _other:
                raise ConfigError(f"{text}: give the file as it was; eval, predict and generate take another one")
            _other[0](f"note: {text}: results may differ")
        elif not _registered(_names(one)):
            text = f"this model was made with the plugin {name} (sha256 {want[:12]})"
            raise ConfigError(f"{text}, which is not loaded: add --plugin {name}")


def families() -> list[type[Spec]]:
    """Every family that is known so far."""
    found, left = [], list(Spec.__subclasses__())
    while left:
        cls = left.pop()
        left += cls.__subclasses__()
        if cls.__dict__.get("family") is cls:
            found.append(cls)
    return found


def _names(saved: dict[str, Any]) -> set[str]:
    parts = saved.get("parts")
    return {p for p in parts if isinstance(p, str)} if isinstance(parts, list) else set()


def _registered(names: set[str]) -> bool:
    """Whether other code, which the caller imported, has registered all of these."""
    return bool(names) and names <= {f"{f.__name__}.{name}" for f in families() for name in f.registry}


def _kinds(spec: Spec) -> dict[str, set[str]]:
    """module -> the parts from it in a spec."""
    found: dict[str, set[str]] = {}
    if spec.family is not None:
        found[type(spec).__module__] = {f"{spec.family.__name__}.{spec.kind}"}
    for value in (getattr(spec, name) for name in type(spec).model_fields):
        for part in value if isinstance(value, tuple) else (value,):
            for module, names in _kinds(part).items() if isinstance(part, Spec) else ():
                found[module] = found.get(module, set()) | names
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        near = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        _refuse(path, f"there is no such file{did_you_mean(path.name, near)}")
    except OSError as e:
        _refuse(path, f"cannot be read ({e.strerror}): give one Python file")


def _forget(module: str) -> None:
    sys.modules.pop(module, None)
    for family in families():
        for name in [n for n, c in family.registry.items() if c.__module__ == module]:
            del family.registry[name]


def _explain(path: Path, e: BaseException) -> NoReturn:
    lines = [f.lineno for f in traceback.extract_tb(e.__traceback__) if f.filename == str(path)]
    line = lines[-1] if lines else None
    if isinstance(e, TypeError) and str(e).startswith(_TAKEN):
        _refuse(path, f'{e}: give yours another name, `class Mine(..., name="other")`', line)
    _refuse(path, f"{type(e).__name__}: {e}", line)


def _refuse(path: Path, why: str, line: int | None = None) -> NoReturn:
    raise ConfigError(f"--plugin {path}{f', line {line}' if line else ''}: {why}") from None
