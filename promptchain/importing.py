"""Imports modules of the user's project: those of several projects side by side, none of them mixed up.

The first project of a process is imported as Python does it: its folder goes to the end of `sys.path`, so that a file
of the project never stands in for a library, and a module has the name that the project's own code knows it by. That
name may be taken: by a library (a project may have a `json.py`), or by another project. Such a module is imported into
a package of its project's own, `promptchain_<hash>`, and `import` in it finds the project's modules there.

As with any import, a module is run once in a process: what is edited afterwards is seen by the next process. To run one
file again would leave those that imported it with what it was.
"""

from __future__ import annotations

import builtins
import importlib
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_choosing = threading.Lock()  # never held while a module runs: that may take as long as it likes
_first: str | None = None
_roots: dict[str, Path] = {}  # by the names of their packages


def import_file(name: str, path: Path, root: Path) -> ModuleType:
    """The module of a file of the project. path, root: absolute, links resolved.

    Raises what the module raises, and ImportError where the name leads to another file.
    """
    package, is_first = _entered(root)
    if not {name, f"{package}.{name}"} & sys.modules.keys():
        importlib.invalidate_caches()  # a file may be younger than Python's list of its folder
    if is_first and _is_of(find_top(name), {root}):
        module = importlib.import_module(name)
        if _file(module) == path:
            return module
    module = importlib.import_module(f"{package}.{name}")
    if _file(module) != path:
        raise ImportError(f"{name} is not {path.relative_to(root).as_posix()} here", name=name)
    return module


def plain(text: str) -> str:
    """A text without the names of the projects' packages, which mean nothing to anybody."""
    for package in _roots:
        text = text.replace(f"{package}.", "")
    return text


def find_top(name: str) -> ModuleSpec | None:
    """Where Python finds the first part of a module's name, without running anything."""
    try:
        return find_spec(name.partition(".")[0])
    except (ValueError, ImportError, AttributeError):  # a module that was made by hand
        return ModuleSpec(name, None)


def _file(module: ModuleType) -> Path:
    return Path(getattr(module, "__file__", None) or "").resolve()


def _entered(root: Path) -> tuple[str, bool]:
    """The project's package, made where there is none; and whether its modules go by their plain names."""
    global _first
    package = f"promptchain_{sha256(str(root).encode()).hexdigest()[:12]}"
    with _choosing:
        if _first is None or _first not in sys.path:
            _first = str(root)
            if _first not in sys.path:
                sys.path.append(_first)  # it stays, for imports within functions
        if package not in sys.modules:
            module = ModuleType(package)
            module.__path__ = [str(root)]
            sys.modules[package] = module
            _roots[package] = root
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        return package, _first == str(root)


def _is_of(spec: ModuleSpec | None, roots: set[Path]) -> bool:
    """Whether a module or package stands directly in one of the folders."""
    if spec is None:
        return False
    places: list[str | None] = [*(spec.submodule_search_locations or ())]
    places = places or [spec.origin if spec.has_location else None]
    return all(place is not None and Path(place).resolve().parent in roots for place in places)


class _Finder(MetaPathFinder):
    """Finds what lies in the projects' packages; what is not theirs, it leaves to the others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package = fullname.partition(".")[0]
        if package not in _roots or path is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path, package)
        return spec


class _Loader(SourceFileLoader):
    """Runs a module with an `import` that finds the modules of its own project first among those of projects."""

    def __init__(self, fullname: str, path: str, package: str) -> None:
        super().__init__(fullname, path)
        self.package = package

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _importer(self.package)}
        super().exec_module(module)


def _importer(package: str) -> Callable[..., Any]:
    root = _roots[package]

    def own_import(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        top = name.partition(".")[0]
        if level or not _is_own(top, root):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        if fromlist:
            return builtins.__import__(f"{package}.{name}", globals, locals, fromlist, 0)
        importlib.import_module(f"{package}.{name}")
        return sys.modules[f"{package}.{top}"]

    return own_import


def _is_own(top: str, root: Path) -> bool:
    """Whether a name means a module of this project in its code: it has one, and no library has that name."""
    if not (root / f"{top}.py").is_file() and not (root / top).is_dir():
        return False
    found = find_top(top)
    if found is None:
        return True
    return _is_of(found, set(_roots.values())) and not _is_of(found, {root})
