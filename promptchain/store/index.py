"""`index.db`: what can be asked of all runs at once. Derived from spool and segments; rebuilt when it is lost."""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptchain.store import meta
from promptchain.store.repo import Repository
from promptchain.store.spool import RUN_ID, Spool

_SEGMENT = re.compile(r"seg/[0-9]{2}/[0-9a-f-]{1,64}\.jsonl")
_TABLES = """
create table runs(id text primary key, chain text, source text, version integer, model text, started text,
    seconds real, status text, calls integer, tokens integer, cost real, error text, place text) without rowid;
create index runs_of_chain on runs(chain, id);
create table segments(path text primary key) without rowid;
create table tips(ref text primary key, sha text) without rowid;
"""
_VERSION = zlib.crc32(_TABLES.encode()) & 0x7FFFFFFF
"""Tells an index that another release made, with other columns."""

SPOOL = ""
"""The place of a run that waits in the spool; any other is `ref:path` of its segment."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in a list. version: its number when it ran. started: UTC, ISO 8601; cost: US dollars, None where unknown.

    place: where its record is."""

    id: str
    chain: str
    source: str
    version: int | None
    model: str | None
    started: str
    seconds: float
    status: str
    calls: int
    tokens: int
    cost: float | None
    error: str | None
    place: str


@dataclass(frozen=True, slots=True)
class Query:
    """Which runs to list; what is None does not matter. since: ISO 8601, UTC. sources: content ids."""

    chain: str | None = None
    status: str | None = None
    model: str | None = None
    since: str | None = None
    sources: tuple[str, ...] | None = None
    limit: int | None = None


class Index:
    """The runs of a repository, brought up to date whenever it is opened. Raises StoreError for a newer format."""

    def __init__(self, repo: Repository, spool: Spool) -> None:
        self._repo = repo
        self._spool = spool
        self._path = repo.state / "index.db"
        meta.check(repo, writing=False)
        try:
            self._db = self._open(self._path)
            self._refresh()
        except sqlite3.Error:  # corrupt, of another format, or not to be written: what is derived can be derived again
            self._rebuild()

    def close(self) -> None:
        self._db.close()

    def find(self, beginning: str) -> list[RunRow]:
        """The runs whose id begins so, at most 10, the newest first; with "" the newest of all."""
        end = beginning + "\x7f"
        return self._rows("select * from runs where id >= ? and id < ? order by id desc limit 10", (beginning, end))

    def select(self, query: Query) -> list[RunRow]:
        """The runs, the newest first."""
        tests, values = ["1"], list[Any]()
        for column, wanted in (("chain", query.chain), ("status", query.status), ("model", query.model)):
            if wanted is not None:
                tests.append(f"{column} = ?")
                values.append(wanted)
        if query.since is not None:
            tests.append("started >= ?")
            values.append(query.since)
        if query.sources is not None:
            tests.append(f"source in ({','.join('?' * len(query.sources))})")
            values += query.sources
        limit = -1 if query.limit is None else query.limit
        sql = f"select * from runs where {' and '.join(tests)} order by id desc limit ?"
        return self._rows(sql, (*values, limit))

    def _rows(self, sql: str, values: Sequence[Any]) -> list[RunRow]:
        try:
            return [RunRow(*row) for row in self._db.execute(sql, values)]
        except sqlite3.DatabaseError:  # damaged where nothing has read before
            self._rebuild()
            return [RunRow(*row) for row in self._db.execute(sql, values)]

    # --- keeping up -------------------------------------------------------------------------------------------------

    def _open(self, path: Path | str) -> sqlite3.Connection:
        db = sqlite3.connect(path, timeout=20, isolation_level=None)
        try:
            if path != ":memory:":
                db.execute("pragma journal_mode = wal")
                db.execute("pragma synchronous = normal")
            version = db.execute("pragma user_version").fetchone()[0]
            if version != _VERSION:
                with _transaction(db):
                    version = db.execute("pragma user_version").fetchone()[0]  # another process may have been first
                    if version not in (0, _VERSION):
                        raise sqlite3.DatabaseError("another format")
                    if version == 0:
                        for statement in filter(str.strip, _TABLES.split(";")):
                            db.execute(statement)
                        db.execute(f"pragma user_version = {_VERSION}")
        except BaseException:
            db.close()
            raise
        return db

    def _rebuild(self) -> None:
        """Make the index anew; in memory, where there is no room for it on disk."""
        self._db = self._afresh()
        try:
            self._refresh()
        except sqlite3.Error:
            self._db.close()
            self._db = self._open(":memory:")
            self._refresh()

    def _afresh(self) -> sqlite3.Connection:
        with suppress(AttributeError):
            self._db.close()
        try:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return self._open(self._path)
        except (OSError, sqlite3.Error):
            return self._open(":memory:")

    def _refresh(self) -> None:
        while not self._refreshed():
            pass

    def _refreshed(self) -> bool:
        """Bring it up to date; False where runs went from the spool into a segment meanwhile."""
        # The spool first: what leaves it while this reads is in a segment by then.
        waiting = set(self._spool.ids())
        tips = self._repo.refs("runs")
        known = dict(self._db.execute("select ref, sha from tips").fetchall())
        listed = {row[0] for row in self._db.execute("select id from runs where place = ?", (SPOOL,))}
        if tips == known and waiting == listed:
            return True
        with _transaction(self._db):
            for ref in {**known, **tips}:
                if known.get(ref) != tips.get(ref):
                    self._follow(ref, tips.get(ref))
            self._db.executemany("delete from runs where id = ? and place = ?", [(i, SPOOL) for i in listed - waiting])
            fresh = {run_id: self._spool.read(run_id) for run_id in sorted(waiting - listed)}
            self._insert((record for record in fresh.values() if record), SPOOL)
            self._db.execute("delete from tips")
            self._db.executemany("insert into tips values (?, ?)", tips.items())
        return all(record or self._spool.path(run_id).exists() for run_id, record in fresh.items())

    def _follow(self, ref: str, sha: str | None) -> None:
        """Add the segments that are new under a ref, and forget those that are gone with it."""
        start = f"runs/{ref}:"
        sql = "select path from segments where substr(path, 1, ?) = ?"
        known = {row[0] for row in self._db.execute(sql, (len(start), start))}
        there = {start + path: blob for path, blob in segments(self._repo, sha).items()}
        for path in known - there.keys():
            self._db.execute("delete from runs where place = ?", (path,))
            self._db.execute("delete from segments where path = ?", (path,))
        for path in there.keys() - known:
            self._insert(records(self._repo.read(there[path])), path)
            self._db.execute("insert or ignore into segments values (?)", (path,))

    def _insert(self, found: Iterable[Mapping[str, Any]], place: str) -> None:
        # A record that is in the spool and in a segment is that of a flush under way: the segment stays.
        how = "or ignore" if place == SPOOL else "or replace"
        sql = f"insert {how} into runs values (?,?,?,?,?,?,?,?,?,?,?,?,?)"
        self._db.executemany(sql, (_row(record, place) for record in found))


def segments(repo: Repository, commit: str | None) -> dict[str, str]:
    """The segments in a commit of runs by their paths, and the ids of their blobs."""
    found: dict[str, str] = {}
    for day in repo.tree(f"{commit}:seg") if commit else ():
        for name, entry in repo.tree(f"{commit}:seg/{day}").items():
            if _SEGMENT.fullmatch(path := f"seg/{day}/{name}"):
                found[path] = entry.sha
    return found


def records(segment: bytes | None) -> Iterator[dict[str, Any]]:
    """The records of a segment: a JSON object a line."""
    for line in (segment or b"").splitlines():
        with suppress(ValueError, RecursionError):
            found = json.loads(line)
            if isinstance(found, dict) and isinstance(found.get("id"), str) and RUN_ID.fullmatch(found["id"]):
                yield found


def _row(record: Mapping[str, Any], place: str) -> tuple[Any, ...]:
    """A record's row, whatever it holds: what came by a sync was written by others."""
    totals = record.get("totals")
    used = totals if isinstance(totals, dict) else {}
    version, model, error, cost = record.get("version"), record.get("model"), record.get("error"), used.get("cost")
    return (
        record["id"],
        *(_text(record.get(key)) for key in ("chain", "source")),
        version if isinstance(version, int) and 0 < version < 1e9 else None,
        None if model is None else _text(model),
        _text(record.get("started")),
        _number(record.get("seconds")),
        _text(record.get("status")),
        int(_number(used.get("calls"))),
        int(_number(used.get("prompt_tokens")) + _number(used.get("completion_tokens"))),
        None if cost is None else _number(cost),
        None if error is None else _text(error),
        place,
    )


def _text(value: Any) -> str:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _number(value: Any) -> float:
    """Zero for what is none, or larger than any that a run has."""
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else 0.0


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("begin immediate")
    try:
        yield
    except BaseException:
        db.execute("rollback")
        raise
    db.execute("commit")
