"""Where things are: the project's folder, its settings files, and the git folder that keeps its store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptchain.errors import InvalidFileError, Problem, PromptChainError, UsageError, Where
from promptchain.lm import patterns

CHAINS = "chains"
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""The name of a chain, and of a label."""


def find_root(start: Path | None = None) -> Path:
    """The project's folder around `start` (the current folder): the nearest one upwards with promptchain.toml, with
    `[tool.promptchain]` in pyproject.toml, or with chains/; else `start` itself."""
    here = (start or Path.cwd()).resolve()
    return next((folder for folder in (here, *here.parents) if _is_root(folder)), here)


def _is_root(folder: Path) -> bool:
    try:
        if (folder / "promptchain.toml").is_file() or (folder / CHAINS).is_dir():
            return True
        return b"[tool.promptchain" in (folder / "pyproject.toml").read_bytes()
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where a project's store is. state: the folder of its lock, spool and index. project: what tells it from other
    projects of the same repository; empty for one that is the whole repository, or that is in none."""

    git_dir: Path
    state: Path
    project: str = ""


def store_place(root: Path) -> StorePlace:
    """The git folder that holds `root`, also of a linked work tree; without one, where the fallback store goes."""
    for folder in (root, *root.parents):
        with suppress(OSError, ValueError):  # may not be read; a marker with a NUL, which no path has
            if found := _git_folder_of(folder):
                name = "+".join(_spelt(part) for part in root.relative_to(folder).parts)
                state = found / "promptchain"
                return StorePlace(found, state / "projects" / name if name else state, name)
    own = root / ".promptchain" / "store.git"
    return StorePlace(own, own / "promptchain")


def git_folder(root: Path) -> Path:
    """The git folder of `store_place`."""
    return store_place(root).git_dir


def _spelt(part: str) -> str:
    """A folder's name as a part of a ref: plain characters, and any other as the hexadecimal digits of its bytes."""
    raw = part.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if re.match(rb"[A-Za-z0-9_-]", bytes([byte])) else f"={byte:02x}" for byte in raw)


def _git_folder_of(folder: Path) -> Path | None:
    """What `.git` in the folder is or points to (gitrepository-layout(5)); None for what git would not take either."""
    own = folder / ".git"
    if own.is_file():
        before, _, target = own.read_text(encoding="utf-8", errors="surrogateescape").partition("gitdir:")
        if before or not target.strip():
            return None
        own = (folder / target.strip()).resolve()
    if not (own / "HEAD").is_file():
        return None
    common = own / "commondir"
    if not common.is_file():
        return own
    shared = (own / common.read_text(encoding="utf-8", errors="surrogateescape").strip()).resolve()
    return shared if (shared / "HEAD").is_file() else None


def tables(root: Path) -> tuple[dict[str, Any], str]:
    """The project's settings as they are written, and the name of the file they stand in.

    Raises InvalidFileError, PromptChainError."""
    own, pyproject = root / "promptchain.toml", root / "pyproject.toml"
    if own.is_file():
        return _read(own), own.name
    return table(pyproject), pyproject.name


def table(pyproject: Path) -> dict[str, Any]:
    """`[tool.promptchain]` of a pyproject.toml; empty where there is no such file or table."""
    if not pyproject.is_file():
        return {}
    found = _read(pyproject)
    for key in ("tool", "promptchain"):
        found = found.get(key, {})
        if not isinstance(found, dict):
            raise InvalidFileError([Problem(f"'{key}' must be a table", Where(pyproject.name), "[tool.promptchain]")])
    return found


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # most projects have no settings file

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidFileError([Problem(f"this is not TOML: {exc}", Where(path.name))]) from None
    except RecursionError:
        raise InvalidFileError([Problem("this is nested too deep", Where(path.name))]) from None
    except OSError as exc:
        raise PromptChainError(f"cannot be read: {exc.strerror}", where=Where(path.name)) from exc


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What the settings say of the store. prefix: where its refs are; without a setting, a project in a subfolder of
    its repository has a place of its own below the usual one. protected: labels that only --force moves."""

    prefix: str = "refs/promptchain"
    protected: tuple[str, ...] = ()


_REF = re.compile(r"refs(/(?!\.)[A-Za-z0-9._-]+(?<!\.)(?<!\.lock))+")
_GITS_OWN = ("refs/heads", "refs/tags", "refs/remotes", "refs/notes", "refs/stash", "refs/bisect", "refs/replace")


def store_settings(root: Path) -> StoreSettings:
    """`ref_prefix` and `protected_labels`, without the rest of the settings, whose checking takes longer than a log.

    Raises InvalidFileError, UsageError, PromptChainError."""
    data, file = tables(root)
    use_redaction(root, data, file)
    own = os.environ.get("PROMPTCHAIN_REF_PREFIX")
    prefix = own or data.get("ref_prefix", StoreSettings().prefix)
    if not isinstance(prefix, str) or not _REF.fullmatch(prefix) or ".." in prefix or prefix in _GITS_OWN:
        hint = 'for example "refs/promptchain", or "refs/heads/promptchain" for a host that takes branches only'
        if own:
            raise UsageError(f"PROMPTCHAIN_REF_PREFIX cannot be {own!r}", hint=hint)
        raise InvalidFileError([Problem(f"the setting 'ref_prefix' cannot be {prefix!r}", Where(file), hint)])
    labels = data.get("protected_labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        problem = Problem("the setting 'protected_labels' must be a list of labels", Where(file), '["production"]')
        raise InvalidFileError([problem])
    place = store_place(root)
    if place.project and prefix == StoreSettings().prefix and "ref_prefix" not in data and not own:
        prefix = f"{prefix}/projects/{place.project}"
    return StoreSettings(prefix, tuple(labels))


def use_redaction(root: Path, data: Mapping[str, Any], file: str) -> None:
    """Has the patterns of the setting `redact` count from now on, wherever secrets are masked. data: the project's
    settings as they are written. Raises InvalidFileError for all that are no patterns."""
    given = data.get("redact", [])
    if not isinstance(given, list) or not all(isinstance(pattern, str) for pattern in given):
        hint = 'for example ["EMP-\\\\d{6}"]'
        raise InvalidFileError([Problem("the setting 'redact' must be a list of patterns", Where(file), hint)])
    if len(given) > patterns.MAX_PATTERNS:
        message = f"the setting 'redact' has {len(given)} patterns, and may have {patterns.MAX_PATTERNS}"
        raise InvalidFileError([Problem(message, Where(file), "join some with |")])
    wrong = [(pattern, fault) for pattern in given if (fault := patterns.fault(pattern))]
    if wrong:
        hint = "chain help privacy"
        raise InvalidFileError(
            [Problem(f"the pattern {pattern!r} in 'redact' {fault}", Where(file), hint) for pattern, fault in wrong]
        )
    patterns.use(str(root), given)
