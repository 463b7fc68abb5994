"""What two chains use beside their prompts → which files of code and passages changed; a version has their hashes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from promptchain.changes import Kind

Uses = Mapping[str, Mapping[str, str]]
"""By kind, the hashes of files; see `Snapshot.uses`."""

_WORDS = {"python": "code", "retrieve": "passages"}


@dataclass(frozen=True, slots=True)
class FileChange:
    """What became of a file that steps use. what: "code" or "passages"."""

    kind: Kind
    what: str
    file: str

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind.value, "what": self.what, "file": self.file}


@dataclass(frozen=True, slots=True)
class UsesDiff:
    """What changed, first code, then passages; false where nothing did."""

    files: tuple[FileChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.files)

    @property
    def summary(self) -> str:
        """As a log says it: code tools.py; passages of 3 files."""
        return "; ".join(filter(None, (self._in_short(what) for what in _WORDS.values())))

    def _in_short(self, what: str) -> str:
        names = [change.file for change in self.files if change.what == what]
        if len(names) > 1:
            return f"{what} of {len(names)} files"
        return f"{what} {PurePosixPath(names[0]).name}" if names else ""

    def to_json(self) -> list[dict[str, str]]:
        return [change.to_json() for change in self.files]


def compare(before: Uses | None, after: Uses | None) -> UsesDiff:
    """What changed; nothing is told where one side's hashes are not known."""
    if before is None or after is None:
        return UsesDiff()
    found = []
    for kind, what in _WORDS.items():
        old, new = before.get(kind, {}), after.get(kind, {})
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                found.append(FileChange(_kind(name, old, new), what, name))
    return UsesDiff(tuple(found))


def _kind(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Kind:
    if name not in old:
        return Kind.ADDED
    return Kind.CHANGED if name in new else Kind.REMOVED
