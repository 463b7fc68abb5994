"""Writes a report without losing what somebody else has at that place."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from promptchain.errors import PromptChainError, UsageError, Where
from promptchain.reports.html.page import MARK


def check(path: Path) -> None:
    """Raises UsageError where a report cannot stand: a folder, or a file that is no report."""
    where = Where(str(path))
    try:
        if path.is_dir():
            raise UsageError("this is a folder", where=where, hint=f"name a file: {path / 'report.html'}")
        if not path.is_file() or not path.stat().st_size:
            return
        with path.open("rb") as file:
            own = file.read(len(MARK)) == MARK.encode()
    except (OSError, ValueError) as exc:
        raise PromptChainError(f"cannot be read: {_reason(exc)}", where=where) from exc
    if not own:
        hint = "give another one with -o FILE, or remove this one"
        raise UsageError("there is a file that is no report; it is not overwritten", where=where, hint=hint)


def write(path: Path, text: str) -> None:
    """Write a report, so that a reader never sees half of it. Raises UsageError as `check`, PromptChainError."""
    check(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # /dev/stdout, a pipe
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        target = path.resolve()
        temporary = target.with_name(f".{target.name[:200]}.{os.getpid()}.tmp")
        try:
            temporary.write_text(text, encoding="utf-8", newline="\n")
            temporary.replace(target)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except (OSError, ValueError, RuntimeError) as exc:  # a NUL in the name; a loop of links
        message = f"the report cannot be written: {_reason(exc)}"
        raise PromptChainError(message, where=Where(str(path)), hint="name another file with -o FILE") from exc


def _reason(exc: Exception) -> str:
    return (isinstance(exc, OSError) and exc.strerror) or str(exc)
