"""Who keeps an index: opens its file, has one process write at a time, goes on in memory where there is no place."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from promptchain.errors import PromptChainError, Where
from promptchain.retrieval import index
from promptchain.retrieval.index import Known
from promptchain.retrieval.upkeep import Job, Stopped, bring_up, is_current

MAX_IN_MEMORY = 256 * 1024 * 1024
"""Bytes of files that are indexed in memory where the disk will not do."""
_POLL = 0.2
_PATIENCE = 600.0


class Keeper:
    """The index in one file. `view` is the state at the last `refresh`, whatever others do to the file meanwhile.

    It is used by one thread at a time. warning: why the index is in memory, if it is.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path | None = path
        self.warning: str | None = None
        self.view: sqlite3.Connection | None = None
        self.known: dict[str, Known] = {}
        self._memory: sqlite3.Connection | None = None

    def refresh(self, job: Job) -> bool:
        """Bring the index up to date and look at it; whether there was anything to do.

        Raises Stopped, PromptChainError, and sqlite3.Error and OSError, for which there is `recover`."""
        if self.view is None:
            with suppress(sqlite3.Error, OSError):  # not there, or not to be used: it will be made
                self.pin()
        if self.view is not None and is_current(self.known, job.listing):
            return False
        with self.writing(job.stop) as db:
            bring_up(db, job)
        self.pin()
        return True

    def pin(self) -> None:
        """Look at the index as it is now. Raises sqlite3.Error."""
        self._unpin()
        if self.path is None:
            self.view = self._memory
        else:
            if not self.path.is_file():
                raise sqlite3.OperationalError("there is no index")
            self.view = index.connect(self.path, writing=False)
            # A read within a transaction holds the state of the database for all that follow.
            self.view.execute("begin")
        if self.view is not None:
            self.known = index.known(self.view)

    @contextmanager
    def writing(self, stop: Callable[[], bool] = lambda: False) -> Iterator[sqlite3.Connection]:
        """A connection that may write, while no other process does. Raises sqlite3.Error, OSError, Stopped."""
        if self.path is None:
            self._memory = self._memory or index.connect(None, writing=True)
            yield self._memory
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(stop):
            db = index.connect(self.path, writing=True)
            try:
                yield db
            finally:
                db.close()

    def recover(self, exc: sqlite3.Error | OSError, size: int) -> None:
        """Make a damaged index ready to be made anew; where there is no place for it, have it in memory.

        size: bytes of what is indexed. Raises PromptChainError where neither will help."""
        if isinstance(exc, OSError):
            self._into_memory(exc.strerror or str(exc), size)
        elif index.damaged(exc):
            self._anew(size)
        elif index.unwritable(exc):
            self._into_memory(str(exc), size)
        else:
            raise self._broken(str(exc)) from exc

    def close(self) -> None:
        self._unpin()
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def _unpin(self) -> None:
        if self.view is not None and self.view is not self._memory:
            self.view.close()
        self.view = None

    @contextmanager
    def _locked(self, stop: Callable[[], bool]) -> Iterator[None]:
        assert self.path is not None
        lock = FileLock(self.path.with_suffix(".lock"))
        waited = 0.0
        while not lock.is_locked:
            try:
                lock.acquire(timeout=_POLL)
            except Timeout:
                waited += _POLL
                if stop():
                    raise Stopped from None
                if waited > _PATIENCE:
                    hint = "end it, or wait until it is done"
                    raise PromptChainError("another process has been at the index for too long", hint=hint) from None
        try:
            yield
        finally:
            lock.release()

    def _anew(self, size: int) -> None:
        """Take away what is damaged, unless another process did so meanwhile."""
        self._unpin()
        if self.path is None:
            if self._memory is not None:
                self._memory.close()
            self._memory = None
            return
        try:
            seen = self._inode()
            with self._locked(lambda: False):
                if self._inode() == seen:
                    index.remove(self.path)
        except OSError as exc:
            self._into_memory(exc.strerror or str(exc), size)

    def _inode(self) -> int:
        try:
            return self.path.stat().st_ino if self.path else 0
        except OSError:
            return 0

    def _into_memory(self, why: str, size: int) -> None:
        if self.path is None:
            raise self._broken(why)
        if size > MAX_IN_MEMORY:
            message = f"there is no place for the index of {size / 2**20:,.0f} MiB: {why}"
            hint = "make room, or let this user write there"
            raise PromptChainError(message, hint=hint, where=Where(str(self.path.parent)))
        self._unpin()
        self.warning = f"the index is made in memory each time, since {self.path.parent} will not do: {why}"
        self.path = None

    def _broken(self, why: str) -> PromptChainError:
        place = Where(str(self.path)) if self.path else None
        return PromptChainError(
            f"the index of passages cannot be used: {why}", hint="remove it: it is made anew", where=place
        )
