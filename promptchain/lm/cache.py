"""The response cache: any model, with its complete answers kept in one SQLite file."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from promptchain.lm.protocol import LM, Capabilities, Finish, OnText, Request, Response, ToolCall, Usage

_VERSION = 1  # of the table, in the file's user_version
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_SLOW = 2.0  # seconds that a call waits for the file at most; then it goes on without
_T = TypeVar("_T")


def default_cache_path() -> Path:
    """The cache file of this user: in $PROMPTCHAIN_CACHE_DIR, else in the platform's cache folder."""
    if folder := os.environ.get("PROMPTCHAIN_CACHE_DIR"):
        return Path(folder) / "responses.db"
    from platformdirs import user_cache_path

    return user_cache_path("promptchain", appauthor=False) / "responses.db"


@dataclass(frozen=True, slots=True)
class CacheStats:
    """entries and bytes of the file (0 where it is not in use); hits and misses of this object."""

    entries: int
    bytes: int
    hits: int
    misses: int


class CachedLM:
    """Asks `inner` only what no process has asked before; the key is the whole request and the model's identity.

    Errors and answers cut off by a content filter are not kept. An answer from the cache has `cached` set, since it
    costs nothing now, with the cost and latency that it was had with, and goes to `on_text` in one piece. Identical
    requests in flight at once are made once: the others wait, and one of them takes over where the first fails or is
    cancelled.

    Any number of processes and threads may share the file. It is touched on one thread of this object's own, so the
    event loop never waits for the disk or for another process. Whatever is wrong with the file, calls go on: a broken
    one is set aside as *.corrupt, and anything else (a full or read-only disk, a newer format) switches the cache off
    for this object. Either is told to `on_warning` in one sentence, on the event loop's thread.

    limit: bytes the file may hold; over it the oldest tenth goes.
    """

    def __init__(
        self, inner: LM, path: Path, *, limit: int = 1024**3, on_warning: Callable[[str], None] = lambda _: None
    ) -> None:
        self._inner = inner
        self._file = _File(path, limit)
        self._on_warning = on_warning
        # A connection stays on the thread that made it: no locks, and reads and writes in the order they were asked.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="promptchain-cache")
        self._waiting: dict[asyncio.AbstractEventLoop, list[_Piece]] = {}
        self._busy: set[asyncio.AbstractEventLoop] = set()
        self._flights: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Future[Response | None]] = {}
        self._hits = 0
        self._misses = 0
        self._closed = False

    async def complete(self, request: Request, on_text: OnText | None = None) -> Response:
        flight = (asyncio.get_running_loop(), self._key(request))
        while (leader := self._flights.get(flight)) is not None:
            # Unlike awaiting the future itself, this leaves it alone when the waiting task is cancelled.
            await asyncio.wait([leader])
            if (answer := leader.result()) is not None:
                return self._hit(answer, on_text)
        landing = self._flights[flight] = flight[0].create_future()
        answer = None
        try:
            answer = await self._on_thread(self._file.get, flight[1])
            if answer is not None:
                return self._hit(answer, on_text)
            self._misses += 1
            answer = await self._inner.complete(request, on_text)
            if answer.finish is not Finish.FILTER:
                await self._on_thread(self._file.put, flight[1], answer)
            return answer
        finally:
            del self._flights[flight]
            landing.set_result(answer)  # None: one of those who wait takes over

    async def lookup(self, request: Request, on_text: OnText | None = None) -> Response | None:
        """The answer, if it is in the cache; the model is never asked."""
        answer = await self._on_thread(self._file.get, self._key(request))
        return None if answer is None else self._hit(answer, on_text)

    async def remember(self, request: Request, response: Response) -> None:
        """Keep an answer that was had in another way."""
        await self._on_thread(self._file.put, self._key(request), response)

    def capabilities(self, model: str) -> Capabilities:
        return self._inner.capabilities(model)

    def identity(self, model: str) -> str:
        return self._inner.identity(model)

    def stats(self) -> CacheStats:
        """Blocks while the file is read."""
        entries, size = self._thread.submit(self._file.size).result()
        self._warn()
        return CacheStats(entries, size, self._hits, self._misses)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            for waiting in self._waiting.values():  # of an event loop that has ended
                self._thread.submit(_all_of, waiting)
            self._thread.submit(self._file.close).result()
            self._thread.shutdown()
            self._warn()
        self._inner.close()

    def _key(self, request: Request) -> str:
        return request.key(self._inner.identity(request.model))

    def _hit(self, answer: Response, on_text: OnText | None) -> Response:
        self._hits += 1
        if on_text is not None and answer.text:  # none, where it calls a tool
            on_text(answer.text)
        return replace(answer, cached=True)

    async def _on_thread(self, work: Callable[..., Any], *arguments: object) -> Any:
        """What `work` returns; None where it takes too long. It is done to the end even then, and if this task is
        cancelled: the answer is paid for."""
        if self._file.off:
            return None
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        waiting = self._waiting.setdefault(loop, [])
        waiting.append((future, work, arguments))
        if loop not in self._busy:
            self._send(loop)
        await asyncio.wait([future], timeout=_SLOW)
        self._warn()
        return future.result() if future.done() else None

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the thread do all that waits: to wake it for each piece alone costs more than most pieces."""
        waiting = self._waiting.pop(loop, [])
        if not waiting:
            self._busy.discard(loop)
            return
        self._busy.add(loop)

        def deliver(done: asyncio.Future[list[Any]]) -> None:
            for (future, _, _), result in zip(waiting, done.result(), strict=True):
                if not future.done():
                    future.set_result(result)
            self._send(loop)

        loop.run_in_executor(self._thread, _all_of, waiting).add_done_callback(deliver)

    def _warn(self) -> None:
        while self._file.troubles:
            self._on_warning(self._file.troubles.pop(0))


_Piece = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[object, ...]]
"""Work for the thread, and where its result is awaited."""


def _all_of(pieces: list[_Piece]) -> list[Any]:
    return [work(*arguments) for _, work, arguments in pieces]


class _File:
    """The SQLite file; all methods but the constructor run on one thread, and none raises for what a disk can do."""

    def __init__(self, path: Path, limit: int, patience: float = 10.0) -> None:
        self.off = False
        self.troubles: list[str] = []
        self._path = path
        self._limit = limit
        self._patience = patience  # seconds to wait for another process's transaction
        self._db: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None  # which file `_db` has open, whatever the path stands for by now
        self._unchecked = limit  # bytes written since the size was last looked at

    def get(self, key: str) -> Response | None:
        row = self._safely(lambda db: db.execute("SELECT value FROM responses WHERE key = ?", (key,)).fetchone())
        return None if row is None else _load(row[0])

    def put(self, key: str, answer: Response) -> None:
        value = _dump(answer)
        self._safely(lambda db: db.execute("INSERT OR REPLACE INTO responses (key, value) VALUES (?, ?)", (key, value)))
        self._unchecked += len(value)
        if self._unchecked > self._limit // 64:
            self._unchecked = 0
            self._safely(self._evict)

    def size(self) -> tuple[int, int]:
        """Entries and bytes."""
        return self._safely(lambda db: (_number(db, "SELECT count(*) FROM responses"), _bytes(db))) or (0, 0)

    def close(self) -> None:
        self.off = True
        self._shut()

    def _safely(self, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """What `work` returns; None, with the cache switched off, where it fails even with a new file."""
        for second in (False, True):
            if self.off:
                break
            try:
                if self._db is None:
                    self._db = self._open()
                return work(self._db)
            except (sqlite3.Error, OSError) as exc:
                code = getattr(exc, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
                if code in _CORRUPT and not second:
                    self._set_aside()
                else:
                    self._switch_off(exc)
        return None

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)  # prompts and answers may be private; SQLite's side files take over this mode
        self._opened = self._path.stat()
        db = sqlite3.connect(self._path, timeout=self._patience, isolation_level=None)
        try:
            if _number(db, "PRAGMA user_version") != _VERSION:
                _create(db)
            _use_wal(db, self._patience)
            db.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last answers, but never the file
            db.execute("PRAGMA journal_size_limit=16777216")
        except BaseException:
            db.close()
            raise
        return db

    def _evict(self, db: sqlite3.Connection) -> None:
        if _bytes(db) <= self._limit:
            return
        while _bytes(db) > self._limit * 9 // 10:
            # The oldest have the lowest ids. A few at a time: other processes wait for each transaction.
            oldest = "SELECT min(id) + min(500, (max(id) - min(id)) / 20) FROM responses"
            if not db.execute(f"DELETE FROM responses WHERE id <= ({oldest})").rowcount:
                return

    def _set_aside(self) -> None:
        self._shut()
        try:
            # Another process may have found the same and be using the new file by now: that one stays.
            if self._opened is None or not os.path.samestat(self._opened, self._path.stat()):
                return
            aside = Path(f"{self._path}.corrupt")
            # The log first: left behind, it would be replayed into the new file.
            for suffix in ("-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            self._path.replace(aside)
        except FileNotFoundError:
            return  # it has just been set aside
        except OSError as exc:
            self._switch_off(exc)
        else:
            self.troubles.append(f"the response cache {self._path} was broken; it is set aside as {aside.name}")

    def _switch_off(self, cause: Exception) -> None:
        self.off = True
        self._shut()
        self.troubles.append(f"the response cache {self._path} is not used: {cause}")

    def _shut(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()


def _create(db: sqlite3.Connection) -> None:
    with db:
        db.execute("BEGIN IMMEDIATE")  # the first process makes the table, the others find it made
        version = _number(db, "PRAGMA user_version")
        if version > _VERSION:
            raise sqlite3.NotSupportedError("a newer promptchain made it")
        if version == 0:
            if _number(db, "SELECT count(*) FROM sqlite_master"):
                raise sqlite3.NotSupportedError("it is another program's database")
            db.execute("CREATE TABLE responses (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, value BLOB NOT NULL)")
            db.execute(f"PRAGMA user_version={_VERSION}")


def _use_wal(db: sqlite3.Connection, patience: float) -> None:
    """Write-ahead logging, where readers never wait. SQLite's own patience does not cover this one statement, which
    fails at once while another process does the same."""
    deadline = time.monotonic() + patience
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL").fetchone()
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _number(db: sqlite3.Connection, query: str) -> int:
    return int(db.execute(query).fetchone()[0])


def _bytes(db: sqlite3.Connection) -> int:
    """What the entries take. Freed pages are used again, so the file itself stays near the limit as well."""
    pages = _number(db, "PRAGMA page_count") - _number(db, "PRAGMA freelist_count")
    return pages * _number(db, "PRAGMA page_size")


def _dump(answer: Response) -> bytes:
    """JSON. Its escapes would join two lone surrogates into one character, so the text stands as it is: as UTF-8,
    with surrogates passed through, every Python string comes back the same."""
    value = asdict(answer) | {"created": time.time()}
    del value["cached"]
    for name in ("logprobs", "tool_calls"):
        if not value[name]:
            del value[name]
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _load(value: bytes) -> Response | None:
    """The answer; None for a value that is none, which is then asked for again and replaced."""
    try:
        read = json.loads(value.decode("utf-8", "surrogatepass"))
        usage = Usage(**read["usage"])
        logprobs = tuple(map(float, read.get("logprobs", ())))
        calls = tuple(ToolCall(**call) for call in read.get("tool_calls", ()))
        finish, cost, latency = Finish(read["finish"]), read["cost"], read["latency"]
        return Response(read["text"], finish, usage, cost, latency, logprobs=logprobs, tool_calls=calls)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
