"""Modules of the user's project by their source alone: nothing here imports them."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path

from promptchain.errors import FunctionError, Where, known_or_nearest, nearest

REFERENCE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
ANY_NAME = "**"
"""In `parameters_of`: the function takes arguments of any name."""

MAX_FILES = 500
"""Files that a fingerprint may be of."""

MAX_SOURCE = 2_000_000
"""Bytes of a file that is looked into; a larger one is taken as it is."""

_HINT = "write module:function, from the project's folder"
_KEEPING = {"cache", "lru_cache", "validate_call", "override", "final", "deprecated", "wraps"}
_HOPS = 5
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_NO_FUNCTIONS = (ast.Constant, ast.List, ast.Dict, ast.Set, ast.Tuple, ast.JoinedStr)


def split(name: str) -> tuple[str, str]:
    """Module and function of `module:function`. Raises FunctionError for what is no such name."""
    match = REFERENCE.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        shown = repr(name if not isinstance(name, str) or len(name) <= 60 else name[:59] + "…")
        raise FunctionError(f"{shown} does not name a function", hint=_HINT)
    return match[1], match[2]


def file_of(module: str, root: Path) -> Path:
    """The file of a dotted module name, links resolved; a package before a file, as Python has it.

    Raises FunctionError where there is none, or where it, or a package around it, leads out of the project.
    """
    root = root.resolve()
    found = _inside(module, root)
    if found is None:
        base = root.joinpath(*module.split("."))
        near = nearest(module, module_names(root))
        raise FunctionError(f"the project has no file {base.relative_to(root).as_posix()}.py", hint=near or _HINT)
    parts = module.split(".")
    packages = (root.joinpath(*parts[:count], "__init__.py") for count in range(1, len(parts)))
    for path in (*(path for path in packages if path.is_file()), found):
        if not path.resolve().is_relative_to(root):
            raise FunctionError(f"{path.relative_to(root).as_posix()} leads out of the project")
    return found.resolve()


def _inside(module: str, root: Path) -> Path | None:
    """The module's file as it is named, which may be a link."""
    base = root.joinpath(*module.split("."))
    try:
        return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)
    except OSError:  # a name that no file can have
        return None


def module_names(root: Path, most: int = 1000) -> list[str]:
    """Modules of the project, for hints."""
    return list(islice(_module_names(root, ()), most))


def _module_names(folder: Path, parents: tuple[str, ...]) -> Iterator[str]:
    try:
        entries = sorted(islice(folder.iterdir(), 1000))
    except OSError:
        return
    for path in entries:
        if path.suffix == ".py" and path.stem.isidentifier():
            yield ".".join(parents if path.stem == "__init__" else (*parents, path.stem))
    for path in entries:
        if path.name.isidentifier() and len(parents) < 4 and path.is_dir() and not (path / "pyvenv.cfg").exists():
            yield from _module_names(path, (*parents, path.name))


# --- what a module defines


def check(name: str, root: Path) -> tuple[str, str | None] | None:
    """What is wrong with a reference to a function, as a message and a hint, so far as the source tells; else None."""
    try:
        module, wanted = split(name)
        path = file_of(module, root)
        tree = _read(path, root)
    except FunctionError as exc:
        return str(exc) if exc.where else exc.message, None if exc.where else exc.hint
    if tree is None:
        return None
    bound = _bindings(tree)
    shown = path.relative_to(root.resolve()).as_posix()
    if wanted not in bound:
        if "*" in bound or "__getattr__" in bound:
            return None
        functions = [name for name, nodes in bound.items() if not name.startswith("__") and not _is_data(nodes)]
        own = [name for name in functions if any(isinstance(node, _FUNCTION) for node in bound[name])]
        hint = nearest(wanted, functions) or known_or_nearest(wanted, own or functions, "functions")
        return f"{shown} has no function '{wanted}'", hint
    return (f"{shown} '{wanted}' is no function", None) if _is_data(bound[wanted]) else None


def _is_data(nodes: Iterable[ast.AST]) -> bool:
    return all(isinstance(node, _NO_FUNCTIONS) for node in nodes)


def parameters_of(name: str, root: Path) -> tuple[tuple[str, bool], ...] | None:
    """The parameters of a function, each with whether it is required; `ANY_NAME` among them where it takes `**more`.

    None where the source does not tell: there is no such function, it is a class, a decorator may have changed it, it
    is defined in several places. What a module of the project took from another of the project is followed.
    """
    try:
        module, wanted = split(name)
        for _ in range(_HOPS):
            path = file_of(module, root)
            tree = _read(path, root)
            nodes = _bindings(tree).get(wanted, ()) if tree else ()
            if len(nodes) != 1:
                return None
            (node,) = nodes
            if not isinstance(node, ast.ImportFrom):
                return _parameters(node)
            wanted = next(alias.name for alias in node.names if (alias.asname or alias.name) == wanted)
            module = _base(node.level, node.module, module, path.name == "__init__.py") or ""
            if not module or (not node.level and module.partition(".")[0] in sys.stdlib_module_names):
                return None
    except FunctionError:
        pass
    return None


def _parameters(node: ast.AST) -> tuple[tuple[str, bool], ...] | None:
    if not isinstance(node, (*_FUNCTION, ast.Lambda)):
        return None
    if not isinstance(node, ast.Lambda) and not all(map(_keeps_signature, node.decorator_list)):
        return None
    given = node.args
    plain = [*given.posonlyargs, *given.args]
    first = len(plain) - len(given.defaults)
    found = [(argument.arg, index < first) for index, argument in enumerate(plain)]
    found += [
        (argument.arg, default is None) for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    return (*found, (ANY_NAME, False)) if given.kwarg else tuple(found)


def _keeps_signature(decorator: ast.expr) -> bool:
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")) in _KEEPING


def _read(path: Path, root: Path) -> ast.Module | None:
    """The module's tree; None where it is too large to look into. Raises FunctionError for what is no Python."""
    shown = path.relative_to(root.resolve()).as_posix()
    try:
        source = path.read_bytes()
        return _parsed(source) if len(source) <= MAX_SOURCE else None
    except SyntaxError as exc:
        raise FunctionError(f"it is not Python: {exc.msg}", where=Where(shown, exc.lineno)) from exc
    except OSError as exc:
        raise FunctionError(f"{shown} cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError, MemoryError) as exc:
        raise FunctionError(f"it is not Python: {exc}", where=Where(shown)) from exc


def _parsed(source: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes; they are for who imports it
        return ast.parse(source)


def _bindings(tree: ast.Module) -> dict[str, list[ast.AST]]:
    """The names that a module has, each with what binds it: a definition, an import, or the value assigned.

    `*` where it takes all names of another module.
    """
    found: dict[str, list[ast.AST]] = {}
    waiting: deque[ast.AST] = deque(tree.body)
    while waiting:
        node = waiting.popleft()
        if isinstance(node, (*_FUNCTION, ast.ClassDef)):
            found.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                found.setdefault(alias.asname or alias.name.partition(".")[0], []).append(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets if node.value else ():
                _bind(found, target, node.value)
            waiting += [node.value] if node.value else []
        elif not isinstance(
            node, ast.Lambda | ast.comprehension
        ):  # if, try, with, for, match; and what stands in expressions
            for field in ("target", "optional_vars"):
                _bind(found, getattr(node, field, None), node)
            waiting += ast.iter_child_nodes(node)
    return found


def _bind(found: dict[str, list[ast.AST]], target: ast.AST | None, value: ast.AST | None) -> None:
    if isinstance(target, ast.Name) and value is not None:
        found.setdefault(target.id, []).append(value)
    elif isinstance(target, ast.Tuple | ast.List):
        for part in target.elts:
            _bind(found, part.value if isinstance(part, ast.Starred) else part, part)


# --- fingerprints


def fingerprint(name: str, root: Path) -> dict[str, str]:
    """The SHA-256 of the function's file, and of the files of the project that it imports, by their paths in it.

    Imports are followed as they stand in the source, also those within functions, `MAX_FILES` at most. What is not
    there, is no Python or leads out of the project is left out; so is a file that has the name of a standard module,
    since an import means that. Never raises.
    """
    try:
        root = root.resolve()
        module = split(name)[0]
        file_of(module, root)
    except (FunctionError, OSError, RuntimeError):
        return {}
    found: dict[str, str] = {}
    seen: set[str] = set()
    waiting = deque(_with_packages(module))
    while waiting and len(found) < MAX_FILES:
        module = waiting.popleft()
        if module in seen:
            continue
        seen.add(module)
        path = _inside(module, root)
        source = _bytes(path, root) if path else None
        if path is None or source is None:
            continue
        found[path.relative_to(root).as_posix()] = sha256(source).hexdigest()
        for level, base, names in _imports(source) if len(source) <= MAX_SOURCE else ():
            start = _base(level, base, module, path.name == "__init__.py")
            if start is None or (not level and start.partition(".")[0] in sys.stdlib_module_names):
                continue
            waiting += _with_packages(start) if start else []
            waiting += [f"{start}.{name}" if start else name for name in names]
    return dict(sorted(found.items()))


def _bytes(path: Path, root: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.resolve().is_relative_to(root) else None
    except (OSError, RuntimeError, MemoryError):
        return None


def _with_packages(module: str) -> list[str]:
    """
    >>> _with_packages("a.b.c")
    ['a', 'a.b', 'a.b.c']
    """
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _base(level: int, imported: str | None, module: str, is_package: bool) -> str | None:
    """The absolute name of what a `from` names in `module`; None where it leads beyond the project's folder."""
    if not level:
        return imported
    parts = module.split(".")
    up = level - is_package
    if up > len(parts):
        return None
    return ".".join([*parts[: len(parts) - up], *([imported] if imported else [])])


@lru_cache(512)
def _imports(source: bytes) -> tuple[tuple[int, str | None, tuple[str, ...]], ...]:
    """Each import in a source: how many dots, the module, and the names taken from it."""
    found: list[tuple[int, str | None, tuple[str, ...]]] = []
    try:
        for node in ast.walk(_parsed(source)):
            if isinstance(node, ast.Import):
                found += [(0, alias.name, ()) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = tuple(alias.name for alias in node.names if alias.name != "*")
                found.append((node.level, node.module, names))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    return tuple(found)
