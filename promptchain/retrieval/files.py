"""Which files of a project patterns mean, with what `stat` says of each: one look at a folder, one `stat` a file.

A pattern is read from left to right, a part for each folder: `*`, `?` and `[…]` as in fnmatch, `**` for any number of
folders. The name of a folder means all that is in it. What begins with a dot is hidden, and never meant.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from pathlib import Path, PurePosixPath

from promptchain.errors import PromptChainError

MAX_FILES = 200_000
_MAGIC = re.compile(r"[*?\[]")
_DEEP = "**"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells that a file is the one that was read. Times in nanoseconds."""

    size: int
    mtime: int
    ctime: int
    inode: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The files by their paths from the project's folder, sorted. warnings: what was left out, and why.
    unmatched: patterns that no file fits."""

    files: dict[str, Stamp]
    warnings: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)


def matching_files(root: Path, folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The files that at least one of the patterns means, sorted, each once, as absolute paths without symlinks.

    root: the project's folder; what lies outside of it is left out, also where a symlink leads there. folder: where the
    patterns count from. Raises PromptChainError for no pattern, for one that leads out of the project, and for more
    files than MAX_FILES.
    """
    base = root.resolve()
    return [base / path for path in listing(root, folder, patterns).files]


def listing(root: Path, folder: Path, patterns: Sequence[str], *, most: int | None = None) -> Listing:
    """`matching_files` with what is known of them. most: so many will do, whichever they are: whether there are any is
    told without going through all. Raises as `matching_files` does."""
    if not patterns:
        raise PromptChainError("there is no pattern of files", hint="for example docs/*.md")
    root = root.resolve()
    walk = _Walk(root, most)
    unmatched = []
    with suppress(_Enough):
        for pattern, parts in [(pattern, _parts(root, folder.resolve(), pattern)) for pattern in patterns]:
            before = walk.hits
            walk.follow(parts)
            if walk.hits == before:
                unmatched.append(pattern)
    return Listing(dict(sorted(walk.files.items())), walk.warnings, unmatched)


def no_file(root: Path, folder: Path, patterns: Sequence[str], found: Listing) -> tuple[str, str]:
    """What to say where patterns mean no file at all, and a hint."""
    told = ", ".join(f"'{pattern}'" for pattern in patterns)
    message = f"no file fits {told}" + (f": {found.warnings[0]}" if found.warnings else "")
    where = "/".join(folder.resolve().relative_to(root.resolve()).parts) or "."
    return message, f"patterns count from the folder '{where}'"


def stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def fits(path: str, pattern: str) -> bool:
    """Whether a path from the project's folder fits a pattern from there; one without `/` is for the file's name."""
    if "/" not in pattern:
        return bool(_part(pattern)(path.rpartition("/")[2])) or path == pattern
    return _fits(tuple(path.split("/")), tuple(pattern.strip("/").split("/")))


def _fits(names: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    reached = {0}  # how many names the parts so far can take
    for part in parts:
        if part == _DEEP:
            reached = set(range(min(reached, default=len(names) + 1), len(names) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(names) and _part(part)(names[at])}
    return len(names) in reached


def _parts(root: Path, folder: Path, pattern: str) -> tuple[str, ...]:
    """A pattern's parts from the project's folder. Raises PromptChainError where it leads out of it."""
    hint = "patterns are paths from the chain file's folder, and stay in the project's folder"
    if not pattern.strip() or "\0" in pattern:
        raise PromptChainError(f"{pattern!r} is no pattern of files", hint=hint)
    if Path(pattern).is_absolute() or PurePosixPath(pattern).is_absolute() or pattern.startswith("~"):
        raise PromptChainError(f"the pattern '{pattern}' is no path from the chain file's folder", hint=hint)
    try:
        parts = list(folder.relative_to(root).parts)
    except ValueError:
        raise PromptChainError(f"the folder '{folder}' is not in the project's folder '{root}'") from None
    for part in pattern.replace(os.sep, "/").split("/"):
        if part == "..":
            if not parts:
                raise PromptChainError(f"the pattern '{pattern}' leads out of the project's folder", hint=hint)
            if parts.pop() == _DEEP:
                raise PromptChainError(f"the pattern '{pattern}' has '..' after '**'", hint=hint)
        elif part not in ("", ".") and not (part == _DEEP and parts[-1:] == [_DEEP]):
            parts.append(part)
    return tuple(parts)


@lru_cache(maxsize=1024)
def _compiled(part: str) -> re.Pattern[str]:
    return re.compile(translate(part))


def _part(part: str) -> Callable[[str], object]:
    return _compiled(part).match


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


class _Enough(Exception):
    """There are as many files as will do."""


class _Walk:
    """Goes through folders as patterns say, and collects files. Symlinks are followed as far as they stay inside."""

    def __init__(self, root: Path, most: int | None = None) -> None:
        self.root = root
        self._most = most
        self.files: dict[str, Stamp] = {}
        self.warnings: list[str] = []
        self.hits = 0
        self._seen: set[tuple[str, tuple[str, ...]]] = set()

    def follow(self, parts: tuple[str, ...]) -> None:
        self._seen.clear()
        todo = [("", parts)]
        while todo:
            folder, rest = todo.pop()
            if (folder, rest) not in self._seen:  # a loop of symlinks comes back to where it was
                self._seen.add((folder, rest))
                todo += self._step(folder, rest)

    def _step(self, folder: str, parts: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Look at a folder with the parts that are left; what is to be looked at next."""
        first, rest = parts[0] if parts else _DEEP, parts[1:]
        if first == _DEEP:
            if rest:
                yield folder, rest
            for entry in self._entries(folder):
                yield from self._take(_join(folder, entry.name), entry, ends=not rest, within=(_DEEP, *rest))
        elif _MAGIC.search(first):
            for entry in self._entries(folder):
                if _part(first)(entry.name):
                    yield from self._take(_join(folder, entry.name), entry, ends=not rest, within=rest or None)
        elif not first.startswith("."):
            yield from self._take(_join(folder, first), None, ends=not rest, within=rest)

    def _take(
        self, path: str, entry: os.DirEntry[str] | None, *, ends: bool, within: tuple[str, ...] | None
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Take a file, where the pattern ends here; of a folder, what is to be looked for in it (None for nothing)."""
        try:
            if entry is not None and not entry.is_symlink():
                if entry.is_dir(follow_symlinks=False):
                    if within is not None:
                        yield path, within
                elif ends:
                    self._add(path, entry.stat(follow_symlinks=False))
                return
            found = os.lstat(self.root / path)
            if stat.S_ISLNK(found.st_mode):
                real = self._inside(path)
                if real is None:
                    return
                path, found = real, os.lstat(self.root / real)
            if stat.S_ISDIR(found.st_mode):
                if within is not None:
                    yield path, within
            elif ends:
                self._add(path, found)
        except (FileNotFoundError, NotADirectoryError):
            pass  # gone meanwhile, or never there
        except (OSError, RuntimeError, ValueError) as exc:  # a loop of symlinks is a RuntimeError in older Pythons
            self._warn(path, f"cannot be looked at: {getattr(exc, 'strerror', None) or exc}")

    def _inside(self, path: str) -> str | None:
        """Where a symlink leads to, from the project's folder; None where that is no business of the project."""
        try:
            real = (self.root / path).resolve(strict=True)
            parts = real.relative_to(self.root).parts
        except FileNotFoundError:
            self._warn(path, "is a symlink to nothing")
            return None
        except ValueError:
            self._warn(path, "is a symlink that leads out of the project")
            return None
        if any(part.startswith(".") for part in parts):
            self._warn(path, "is a symlink to something hidden")
            return None
        return "/".join(parts)

    def _add(self, path: str, found: os.stat_result) -> None:
        self.hits += 1
        if path in self.files:
            return
        if not stat.S_ISREG(found.st_mode):
            self._warn(path, "is a device or a pipe, not a file")
            return
        try:
            path.encode()
        except UnicodeEncodeError:
            self._warn(path, "has a name that is not UTF-8")
            return
        if len(self.files) >= MAX_FILES:
            message = f"the patterns mean more than {MAX_FILES:,} files"
            raise PromptChainError(message, hint="name the folders that matter, such as docs/**/*.md")
        self.files[path] = stamp(found)
        if len(self.files) == self._most:
            raise _Enough

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / folder) as found:
                return sorted((e for e in found if not e.name.startswith(".")), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as exc:
            self._warn(folder, f"cannot be listed: {exc.strerror}")
            return []

    def _warn(self, path: str, why: str) -> None:
        shown = path.encode("utf-8", "backslashreplace").decode()
        if (said := f"{shown} {why}") not in self.warnings:
            self.warnings.append(said)
