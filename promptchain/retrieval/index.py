"""The file that an index lies in: SQLite with FTS5. It is derived from the project's files: it is made anew when it is
lost, damaged or of another format."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from promptchain.retrieval.files import Stamp, fits
from promptchain.retrieval.query import indexed
from promptchain.retrieval.split import Piece

_TABLES = """
create table files(id integer primary key, path text not null unique, size integer, mtime integer, ctime integer,
    inode integer, checked integer, sha text, problems text);
create table passages(id integer primary key, file integer not null, line integer, title text, heading text, text text,
    meta text, vector integer);
create index passages_of_file on passages(file);
create table vectors(id integer primary key, hash blob not null unique, vector blob not null);
create virtual table fts using fts5(text, content='', tokenize='porter unicode61 remove_diacritics 2');
create table facts(name text primary key, value) without rowid;
"""
FORMAT = zlib.crc32(_TABLES.encode() + b"2") & 0x7FFFFFFF
"""Tells an index that another release made; to be changed with what readers and splitting give."""
_WAIT = 20.0
_INSERTED, _CHARACTERS = 1000, 2_000_000
"""Passages that are inserted at once, and about how many characters of them at most."""
_TICK = 50_000_000  # nanoseconds
_COARSE_TICK = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Known:
    """What the index knows of a file. checked: when it was read, in nanoseconds since 1970. sha: SHA-256 (hex) of what
    was read, empty where nothing was. problems: what was left out of it."""

    id: int
    stamp: Stamp
    checked: int
    sha: str
    problems: tuple[str, ...] = ()

    def holds(self, found: Stamp) -> bool:
        """Whether the file is surely what was read.

        Not so where it had been written within one tick of the file system's clock before it was read: what was written
        into it after that has the same times. Git's index has the same problem, "racy git", and the same answer
        (https://git-scm.com/docs/racy-git).
        """
        if self.stamp != found:
            return False
        coarse = found.ctime % 1_000_000_000 == 0  # a file system that counts in seconds
        return max(found.ctime, 0) < self.checked - (_COARSE_TICK if coarse else _TICK)


def connect(path: Path | None, *, writing: bool) -> sqlite3.Connection:
    """The index at `path`, or a new one in memory. Raises sqlite3.Error; what can be mended is `damaged`."""
    db = sqlite3.connect(path or ":memory:", timeout=_WAIT, isolation_level=None, check_same_thread=False)
    try:
        if path and writing:
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = normal")
        if writing:
            db.execute("pragma cache_size = -65536")
        version = db.execute("pragma user_version").fetchone()[0]
        if version == 0 and writing:
            _create(db)
        elif version != FORMAT:
            raise sqlite3.DatabaseError(_OTHER)
        db.create_function("indexed", 1, indexed, deterministic=True)
        db.create_function("fits", 2, fits, deterministic=True)
    except BaseException:
        db.close()
        raise
    return db


_OTHER = "another format"


def _create(db: sqlite3.Connection) -> None:
    if db.execute("select count(*) from sqlite_master").fetchone()[0]:
        raise sqlite3.DatabaseError(_OTHER)
    with transaction(db):
        for statement in filter(str.strip, _TABLES.split(";")):
            db.execute(statement)
        db.execute(f"pragma user_version = {FORMAT}")


def damaged(exc: sqlite3.Error) -> bool:
    """Whether the file must be made anew."""
    code = getattr(exc, "sqlite_errorcode", None)
    if code is None:
        return str(exc) == _OTHER
    # A missing table (SQLITE_ERROR) is that of a file that somebody else made.
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def unwritable(exc: sqlite3.Error) -> bool:
    """Whether there is no room or no right to write."""
    code = getattr(exc, "sqlite_errorcode", None) or 0
    places = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
    return code & 0xFF in (*places, sqlite3.SQLITE_PERM)


def remove(path: Path) -> None:
    """Take away the index at `path`. Raises OSError."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing of what is done within."""
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled back by itself
            db.execute("rollback")
        raise


# --- what it holds


def known(db: sqlite3.Connection) -> dict[str, Known]:
    sql = "select path, id, size, mtime, ctime, inode, checked, sha, problems from files"
    return {
        path: Known(number, Stamp(*numbers), checked, sha, tuple(json.loads(problems)) if problems else ())
        for path, number, *numbers, checked, sha, problems in db.execute(sql)
    }


def embedded(db: sqlite3.Connection) -> bool:
    """Whether every passage has its vector."""
    return bool(fact(db, "embedded"))


def fact(db: sqlite3.Connection, name: str) -> object:
    row = db.execute("select value from facts where name = ?", (name,)).fetchone()
    return row and row[0]


def set_fact(db: sqlite3.Connection, name: str, value: str | int) -> None:
    db.execute("insert or replace into facts values (?, ?)", (name, value))


# --- what changes it; each within a transaction of the caller's


def take(db: sqlite3.Connection, path: str, stamp: Stamp, pieces: Iterable[Piece]) -> int:
    """Put a file's passages in place of those that it had; how many they are. It counts as unread until `read`."""
    drop(db, path)
    values = (path, stamp.size, stamp.mtime, stamp.ctime, stamp.inode)
    sql = "insert into files(path, size, mtime, ctime, inode, checked, sha) values (?, ?, ?, ?, ?, 0, '')"
    file = db.execute(sql, values).lastrowid
    first = following = (db.execute("select max(id) from passages").fetchone()[0] or 0) + 1
    source = iter(pieces)
    # Two inserts of many rows each are a third faster than one of both a row.
    while some := list(_some(source)):
        rows = [(following + at, file, *_row(piece)) for at, piece in enumerate(some)]
        db.executemany("insert into passages(id, file, line, title, heading, text, meta) values (?,?,?,?,?,?,?)", rows)
        words = [(number, indexed(f"{heading}\n{text}")) for number, _, _, _, heading, text, _ in rows]
        db.executemany("insert into fts(rowid, text) values (?,?)", words)
        following += len(some)
    if following > first:
        set_fact(db, "embedded", 0)
    return following - first


def _some(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The next ones, as many as are inserted at once."""
    characters = 0
    for piece in islice(pieces, _INSERTED):
        yield piece
        characters += len(piece.text)
        if characters > _CHARACTERS:
            return


def _row(piece: Piece) -> tuple[int, str, str, str, str]:
    meta = json.dumps(piece.meta, ensure_ascii=False, separators=(",", ":")) if piece.meta else "{}"
    return piece.line, piece.title, piece.heading, piece.text, meta


def read(db: sqlite3.Connection, path: str, stamp: Stamp, checked: int, sha: str, problems: Sequence[str]) -> None:
    """Note what was found of a file whose passages are there."""
    sql = "update files set size=?, mtime=?, ctime=?, inode=?, checked=?, sha=?, problems=? where path=?"
    told = json.dumps(list(problems)) if problems else None
    db.execute(sql, (stamp.size, stamp.mtime, stamp.ctime, stamp.inode, checked, sha, told, path))


def drop(db: sqlite3.Connection, path: str) -> None:
    """Forget a file."""
    row = db.execute("select id from files where path = ?", (path,)).fetchone()
    if row is None:
        return
    # An index that keeps no texts must be told what to take out of it.
    words = "indexed(heading || char(10) || text)"
    sql = f"insert into fts(fts, rowid, text) select 'delete', id, {words} from passages where file = ?"
    db.execute(sql, row)
    db.execute("delete from passages where file = ?", row)
    db.execute("delete from files where id = ?", row)
