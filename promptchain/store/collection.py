"""git's own mark of a garbage collection (`gc.pid`, see `builtin/gc.c` of git): read, and held to keep one out.

`git gc --prune=now` deletes temporary files and objects that no ref names, also those of a write that is under way.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "gc.pid"

FORGOTTEN = 12 * 3600.0
"""Seconds after which git takes a mark for what a crash left."""

_PAUSE = 0.002
"""Seconds between two looks at the mark; collections one after another leave only milliseconds between them."""


def is_running(git_dir: Path) -> bool:
    """Whether a collection is under way, by what git itself goes by: the age of the mark, and its process."""
    try:
        with (git_dir / MARK).open(encoding="utf-8", errors="replace") as file:
            age = time.time() - os.fstat(file.fileno()).st_mtime
            pid, _, host = file.read(1000).partition(" ")
    except OSError:
        return False
    if age > FORGOTTEN or not pid.isdecimal():
        return False
    return host.strip() != socket.gethostname() or _is_alive(int(pid))


@contextmanager
def kept_out(git_dir: Path, timeout: float) -> Iterator[bool]:
    """Wait for the end of a collection, at most `timeout` seconds, and let none begin before the block ends.

    Gives whether that could be had. A `git gc` beside it says that another is running; where we are killed, git finds
    that the process of the mark is no more."""
    mark = git_dir / MARK
    until = time.monotonic() + timeout
    try:
        while not (held := _make(mark, until)) and time.monotonic() < until:
            time.sleep(_PAUSE)
    except OSError:  # no space, no right: it goes on without
        held = None
    try:
        yield held is not None
    finally:
        if held is not None and _inode(mark) == held:
            with suppress(OSError):
                mark.unlink()


def _make(mark: Path, until: float) -> int | None:
    """The mark, made by us: its inode; None where a collection has it."""
    if mark.exists() and not is_running(mark.parent):
        with suppress(OSError):
            mark.unlink()
    try:
        with mark.open("x", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {socket.gethostname()}\n")
            made = os.fstat(file.fileno()).st_ino
    except FileExistsError:
        return None
    # A collection that looked before the mark was there still holds this lock, and replaces the mark by it.
    while mark.with_name(f"{MARK}.lock").exists() and time.monotonic() < until:
        time.sleep(_PAUSE)
    return made if _inode(mark) == made else None


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _is_alive(pid: int) -> bool:
    if os.name != "posix":  # where signal 0 is no question
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
