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

_STALE = 60.0
"""Seconds after which a lock of the mark is what a crash left behind."""

_PAUSE = 0.002
"""Seconds between two looks at the mark; collections one after another leave only milliseconds between them."""


def is_running(git_dir: Path) -> bool:
    """Whether a collection is under way, by what git itself goes by: the age of the mark, and its process."""
    try:
        return _is_valid(git_dir / MARK)
    except OSError:
        return False


def _is_valid(mark: Path) -> bool:
    """Raises OSError."""
    with mark.open(encoding="utf-8", errors="replace") as file:
        age = time.time() - os.fstat(file.fileno()).st_mtime
        pid, _, host = file.read(1000).partition(" ")
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
        while (held := _take(mark)) is None and time.monotonic() < until:
            time.sleep(_PAUSE)
    except OSError:  # no space, no right: it goes on without
        held = None
    try:
        yield held is not None
    finally:
        if held is not None and _inode(mark) == held:
            with suppress(OSError):
                mark.unlink()


def _take(mark: Path) -> int | None:
    """Make the mark as git does: under its lock look for a valid one, then put the lock in its place. Gives its inode;
    None where another has either. Raises OSError."""
    lock = mark.with_name(f"{MARK}.lock")
    try:
        with lock.open("x", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {socket.gethostname()}\n")
            made = os.fstat(file.fileno()).st_ino
    except FileExistsError:
        _remove_forgotten(lock)
        return None
    except OSError:
        with suppress(OSError):
            lock.unlink()
        raise
    if is_running(mark.parent):
        lock.unlink()
        return None
    lock.replace(mark)
    return made


def _remove_forgotten(lock: Path) -> None:
    """Remove a lock that a crash left, which git holds for milliseconds, and we too."""
    with suppress(OSError):
        if time.time() - lock.stat().st_mtime > _STALE:
            lock.unlink()


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
