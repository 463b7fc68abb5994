"""The passages of one set of files: kept up to date, and searched."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from promptchain.errors import PromptChainError
from promptchain.parts import Mode, Retrieve
from promptchain.retrieval import dense, files, index, search
from promptchain.retrieval.files import Listing
from promptchain.retrieval.keeper import Keeper
from promptchain.retrieval.passages import Passage, fuse
from promptchain.retrieval.query import match
from promptchain.retrieval.search import DIGITS, Condition, Ranked
from promptchain.retrieval.texts import LeftOut, Reading
from promptchain.retrieval.upkeep import Job, Stopped

Embed = Callable[[Sequence[str]], Awaitable[list[list[float]]]]
"""The vectors of texts, in their order."""
Progress = Callable[[int, int], None]
"""Is told how many of how many are done, on the event loop's thread: first of files, then of texts to embed."""
_T = TypeVar("_T")
_LEAST_FUSED = 50
_TRIES = 3
_MOMENT = 1.0  # seconds


class _Gone(Exception):
    """Another task has found the index damaged, and it is not there again yet."""


class _Fault(Exception):
    """The index failed; the cause may be mended."""

    def __init__(self, cause: sqlite3.Error | OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Corpus:
    """The passages of the files that `spec` names; several tasks may use it at once, and several processes the index.

    root: the project's folder; nothing outside of it is read. folder: where the patterns count from. state: the folder
    whose `retrieval/` holds the index; where it cannot be written the index is in memory.
    fingerprint: of what was found at the last refresh. warnings: what was left out, and why.
    """

    def __init__(self, root: Path, folder: Path, spec: Retrieve, state: Path) -> None:
        self.fingerprint = ""
        self.warnings: list[str] = []
        self._root = root.resolve()
        self._folder = folder.resolve()
        self._spec = spec
        self._keeper = Keeper(index_path(self._root, self._folder, spec, state))
        self._vectors: dense.Vectors | None = None
        # One thread, so that a connection is never used by two, and what is asked is answered in its order.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="promptchain-corpus")

    async def refresh(self, embed: Embed | None = None, *, progress: Progress | None = None) -> str:
        """Bring the index up to date; its fingerprint. Where nothing changed that takes one `stat` a file.

        embed: has the passages embedded, each text once. Cancelling stops between two files; what was read is kept.
        Raises PromptChainError where no file fits, where none can be read, and for a package that is wanting.
        """
        if embed is not None:
            dense.require()
        for _ in range(_TRIES):
            try:
                return await self._refreshed(embed, progress)
            except _Fault as fault:
                await self._recover(fault)
        raise _hopeless()

    async def search(
        self,
        query: str,
        *,
        top_k: int,
        min_score: float | None = None,
        mode: Mode = "lexical",
        where: Mapping[str, Any] | None = None,
        embed: Embed | None = None,
    ) -> list[Passage]:
        """The passages that fit best, as the files were at the last refresh (the first search makes one).

        min_score: of the mode's own scores: BM25, the cosine, or the sum of reciprocal ranks. where: see
        `search.condition`. embed: asked for the query's vector by the modes `dense` and `hybrid`. Raises
        PromptChainError."""
        only = search.condition(where or {})
        if mode != "lexical" and embed is None:
            raise PromptChainError(f"to search in the mode '{mode}' an embedder is needed", hint="or use mode: lexical")
        if self._keeper.view is None or (mode != "lexical" and self._vectors is None):
            await self.refresh(embed if mode != "lexical" else None)
        if not query.strip():
            return []
        vector = (await embed([query]))[0] if embed is not None and mode != "lexical" else None

        def ask(db: sqlite3.Connection) -> list[Passage]:
            return self._found(db, match(query), vector, top_k, min_score, mode, only)

        return await self._asked(ask, embed if mode != "lexical" else None)

    async def of(self, sources: Sequence[str], limit: int = 1000) -> list[Passage]:
        """The passages of files as they stand there, without a score. Raises PromptChainError."""
        if self._keeper.view is None:
            await self.refresh()
        only = search.condition({"source": list(sources)})

        return await self._asked(lambda db: search.passages(db, search.every(db, only, limit)), None)

    async def aclose(self) -> None:
        """As `close`, but what is still being read holds nobody up: the index is then let go of when that is done."""
        with suppress(RuntimeError):
            closing, loop = self._thread.submit(self._keeper.close), asyncio.get_running_loop()
            until = loop.time() + _MOMENT
            while not closing.done() and loop.time() < until:
                await asyncio.sleep(0.002)
            self._thread.shutdown(wait=closing.done())

    def close(self) -> None:
        """Let go of the index; may be called twice."""
        with suppress(RuntimeError):
            self._thread.submit(self._keeper.close)
        self._thread.shutdown(wait=True)

    async def _asked(self, ask: Callable[[sqlite3.Connection], _T], embed: Embed | None) -> _T:
        """What the index says, which is made anew where it is damaged in a place that nothing has read before. Raises
        PromptChainError."""

        def work() -> _T:
            if self._keeper.view is None:
                raise _Gone
            return ask(self._keeper.view)

        for _ in range(_TRIES):
            try:
                return await self._run(work)
            except _Gone:
                pass
            except _Fault as fault:
                await self._recover(fault)
            await self.refresh(embed)
        raise _hopeless()

    async def _run(self, work: Callable[[], _T]) -> _T:
        """What `work` gives on the thread of the index. Raises _Fault where the index fails."""

        def guarded() -> _T:
            try:
                return work()
            except (sqlite3.Error, OSError) as exc:
                raise _Fault(exc) from exc

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    async def _recover(self, fault: _Fault) -> None:
        """Have the index ready to be made anew. Raises PromptChainError."""

        def work() -> None:
            self._vectors, self.fingerprint = None, ""
            size = sum(stamp.size for stamp in self._listing().files.values())
            self._keeper.recover(fault.cause, size)

        try:
            await self._run(work)
        except _Fault as again:
            raise PromptChainError(f"the index of passages cannot be used: {again}") from again

    async def _refreshed(self, embed: Embed | None, progress: Progress | None) -> str:
        stop, loop = Event(), asyncio.get_running_loop()

        def told(done: int, total: int) -> None:
            if progress is not None:
                loop.call_soon_threadsafe(progress, done, total)

        try:
            wanting = await self._run(lambda: self._refresh(stop.is_set, told))
            if embed is not None and wanting:
                await self._embed(embed, progress)
            if embed is not None:
                await self._run(self._look_at_vectors)
        finally:
            stop.set()
        return self.fingerprint

    # --- on the thread of its own

    def _listing(self) -> Listing:
        listing = files.listing(self._root, self._folder, self._spec.patterns)
        if not listing.files:
            message, hint = files.no_file(self._root, self._folder, self._spec.patterns, listing)
            raise PromptChainError(message, hint=hint)
        return listing

    def _refresh(self, stop: Callable[[], bool], progress: Progress) -> bool:
        """Read the files; whether passages are without a vector."""
        listing = self._listing()
        with suppress(Stopped):  # nobody waits for it any more
            if self._keeper.refresh(Job(self._root, listing, self._spec.split, stop, progress)) or not self.fingerprint:
                self._settle(listing)
        self.warnings = self._told(listing)
        return self._keeper.view is not None and not index.embedded(self._keeper.view)

    def _settle(self, listing: Listing) -> None:
        view = self._keeper.view
        assert view is not None
        self._vectors = None
        self.fingerprint = self._fingerprint()
        if not view.execute("select exists(select 1 from passages)").fetchone()[0] and (told := self._told(listing)):
            self.fingerprint = ""
            more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
            raise PromptChainError(f"no file gives a passage: {told[0]}{more}")

    def _told(self, listing: Listing) -> list[str]:
        found = [self._keeper.warning] if self._keeper.warning else []
        found += [f"no file fits '{pattern}'" for pattern in listing.unmatched]
        found += listing.warnings
        return found + [f"{path} {why}" for path, known in sorted(self._keeper.known.items()) for why in known.problems]

    def _fingerprint(self) -> str:
        hashes = sorted((path, known.sha) for path, known in self._keeper.known.items())
        made = [index.FORMAT, self._spec.split.model_dump(), self._spec.named_embedder, hashes]
        return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16]

    def _found(
        self,
        db: sqlite3.Connection,
        words: str | None,
        vector: list[float] | None,
        top_k: int,
        least: float | None,
        mode: Mode,
        only: Condition,
    ) -> list[Passage]:
        wide = max(_LEAST_FUSED, 4 * top_k) if mode == "hybrid" else top_k
        rankings: list[Ranked] = []
        if mode != "dense":
            rankings.append(search.lexical(db, words, wide, only) if words else [])
        if vector is not None:
            self._look_at_vectors()  # another task may have refreshed without them
        if vector is not None and self._vectors is not None:
            among = None if only.sql == "1" else dense.of_passages(db, only)
            rankings.append(search.of_vectors(db, self._vectors.nearest(vector, wide, among), wide, only))
        best = rankings[0]
        if mode == "hybrid":
            fused = fuse([[number for number, _ in ranking] for ranking in rankings])
            best = search.ordered(db, ((number, round(score, DIGITS)) for number, score in fused), top_k)
        return search.passages(db, [pair for pair in best[:top_k] if least is None or pair[1] >= least])

    # --- vectors

    async def _embed(self, embed: Embed, progress: Progress | None) -> None:
        """Have embedded what has no vector; by one process at a time, so that nothing is paid for twice."""
        lock = FileLock(self._keeper.path.with_suffix(".embed.lock")) if self._keeper.path else None
        while lock is not None and not lock.is_locked:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                await asyncio.sleep(0.1)
            except OSError as exc:
                raise _Fault(exc) from exc
        done = 0
        try:
            while True:
                hashes, texts, left = await self._run(self._wanting)
                if not texts:
                    break
                vectors = await embed(texts)
                await self._run(lambda hashes=hashes, vectors=vectors: self._keep(hashes, vectors))  # type: ignore[misc]
                done += len(texts)
                if progress is not None:
                    progress(done, done + max(0, left - len(texts)))
        finally:
            if lock is not None:
                lock.release()

    def _wanting(self) -> tuple[list[bytes], list[str], int]:
        """The next texts to embed, and how many passages are without a vector; none when the index is complete."""
        with self._keeper.writing() as db:
            hashes, texts = dense.wanting(db)
            if texts:
                left = db.execute("select count(*) from passages where vector is null").fetchone()[0]
                return hashes, texts, left
            with index.transaction(db):
                index.set_fact(db, "embedded", 1)
            dense.prune(db)
        self._keeper.pin()
        self._vectors = None
        self.fingerprint = self._fingerprint()
        return [], [], 0

    def _keep(self, hashes: list[bytes], vectors: list[list[float]]) -> None:
        with self._keeper.writing() as db:
            dense.keep(db, hashes, vectors)

    def _look_at_vectors(self) -> None:
        if self._vectors is None and self._keeper.view is not None:
            path = self._keeper.path
            self._vectors = dense.Vectors(self._keeper.view, path and path.with_suffix(""))


def _hopeless() -> PromptChainError:
    return PromptChainError("the index of passages is damaged again and again", hint="is the disk sound?")


def index_path(root: Path, folder: Path, spec: Retrieve, state: Path) -> Path:
    """Where the index of such passages lies: one for each choice of files, splitting and embedder."""
    place = os.path.relpath(folder.resolve(), root.resolve())
    chosen = [place, spec.patterns, spec.split.model_dump(), spec.named_embedder]
    name = hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:16]
    return state / "retrieval" / f"{name}.db"


def fingerprint_of(root: Path, folder: Path, spec: Retrieve, state: Path | None = None) -> dict[str, str]:
    """The SHA-256 (hex) of each file by its path from the project's folder; what cannot be read is not in it.

    state: as of a Corpus, whose index tells the hashes of files that did not change since. Never raises."""
    try:
        listing = files.listing(root, folder, spec.patterns)
    except (PromptChainError, OSError, ValueError):
        return {}
    known: dict[str, index.Known] = {}
    with suppress(sqlite3.Error, OSError, ValueError):
        path = state and index_path(root, folder, spec, state)
        if path and path.is_file():
            db = index.connect(path, writing=False)
            try:
                known = index.known(db)
            finally:
                db.close()
    found = {}
    for name, stamp in listing.files.items():
        if name in known and known[name].holds(stamp) and len(known[name].sha) == 64:
            found[name] = known[name].sha
            continue
        with suppress(OSError, LeftOut), Reading(root.resolve() / name, name) as reading:
            found[name] = reading.sha()
    return found
