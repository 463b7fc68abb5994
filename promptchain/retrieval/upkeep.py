"""Files → an index of what they say now: only what changed is read, and a kill at any instant leaves a whole index."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from promptchain.parts import Split
from promptchain.retrieval import index
from promptchain.retrieval.files import Listing, Stamp
from promptchain.retrieval.index import Known
from promptchain.retrieval.split import passages
from promptchain.retrieval.texts import MAX_BYTES, Block, LeftOut, Reading, blocks

_BATCH = 20_000
"""Passages of one transaction at most, but for those of one file."""


_LASTING = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EISDIR})
"""What is wrong with a file itself; a disk or a process that has no more to give may have it later."""


class Stopped(Exception):
    """Somebody wants no more of it; what was read is kept."""


def _no_progress(done: int, total: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Job:
    """What to keep up with. stop: asked before each file, and before each row of one. progress: told how many files of
    how many are read."""

    root: Path
    listing: Listing
    split: Split
    stop: Callable[[], bool] = field(default=lambda: False)
    progress: Callable[[int, int], None] = _no_progress


def is_current(known: dict[str, Known], listing: Listing) -> bool:
    """Whether the index is surely of the files as they are listed."""
    return known.keys() == listing.files.keys() and all(known[path].holds(at) for path, at in listing.files.items())


def bring_up(db: sqlite3.Connection, job: Job) -> None:
    """Read what is new or may have changed. Raises sqlite3.Error, Stopped, and PromptChainError for a missing package.

    Who reads the index meanwhile sees the state before, or one in which some of the files are newer.
    """
    have = index.known(db)
    todo = [path for path, at in job.listing.files.items() if path not in have or not have[path].holds(at)]
    gone = [path for path in have if path not in job.listing.files]
    done = 0
    with index.transaction(db):
        for path in gone:
            index.drop(db, path)
    while done < len(todo):
        with index.transaction(db):
            count = 0
            while done < len(todo) and count < _BATCH and not job.stop():
                count += 1 + _keep(db, job, todo[done], have.get(todo[done]))
                done += 1
                job.progress(done, len(todo))
        if job.stop():
            raise Stopped


def _keep(db: sqlite3.Connection, job: Job, path: str, have: Known | None) -> int:
    """Read one file anew, if it is another by now; how many passages came of it."""
    db.execute("savepoint file")
    try:
        count = 0 if have and _same(db, job, path, have) else _read(db, job, path)
    except FileNotFoundError:  # gone since it was listed
        db.execute("rollback to file")
        index.drop(db, path)
        count = 0
    except Stopped:  # what was read before it is kept
        db.execute("rollback to file")
        count = 0
    except LeftOut as exc:
        db.execute("rollback to file")
        count = _leave_out(db, path, job.listing.files[path], str(exc), lasting=True)
    except OSError as exc:
        db.execute("rollback to file")
        why = f"cannot be read: {exc.strerror or exc}"
        count = _leave_out(db, path, job.listing.files[path], why, lasting=exc.errno in _LASTING)
    db.execute("release file")
    return count


def _same(db: sqlite3.Connection, job: Job, path: str, have: Known) -> bool:
    """Whether only its times changed; they are noted then."""
    if have.stamp.size != job.listing.files[path].size or have.stamp.size > MAX_BYTES:
        return False
    checked = time.time_ns()
    with Reading(job.root / path, path) as reading:
        if reading.sha() != have.sha:
            return False
        checked = checked if reading.after() == reading.before else 0
        index.read(db, path, reading.before, checked, have.sha, have.problems)
    return True


def _read(db: sqlite3.Connection, job: Job, path: str) -> int:
    checked = time.time_ns()
    with Reading(job.root / path, path) as reading:
        db.execute("savepoint passages")
        try:
            found = (piece for block in _unless_stopped(blocks(reading), job) for piece in passages(block, job.split))
            count = index.take(db, path, reading.before, found)
        except LeftOut as exc:
            db.execute("rollback to passages")
            reading.problems.append(str(exc))
            count = index.take(db, path, reading.before, ())
        db.execute("release passages")
        sha = reading.sha() if reading.before.size <= MAX_BYTES else f"{reading.before.size} bytes"
        # What changed while it was read is looked at again next time.
        checked = checked if reading.after() == reading.before else 0
        index.read(db, path, reading.before, checked, sha, reading.problems)
    return count


def _unless_stopped(found: Iterable[Block], job: Job) -> Iterator[Block]:
    """Raises Stopped: a file may be of many rows."""
    for block in found:
        if job.stop():
            raise Stopped
        yield block


def _leave_out(db: sqlite3.Connection, path: str, stamp: Stamp, why: str, *, lasting: bool) -> int:
    """lasting: only a change of the file can help; else it is tried again next time."""
    index.take(db, path, stamp, ())
    index.read(db, path, stamp, time.time_ns() if lasting else 0, "", [why])
    return 0
