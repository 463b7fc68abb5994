"""The vectors of passages, and which are nearest to another by the cosine of their angle.

Few are compared one by one, which is exact. Many lie in a graph that usearch keeps in a file beside the index (HNSW;
Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical navigable small world
graphs", IEEE TPAMI 42 (2020), 824-836).
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from promptchain.errors import PromptChainError
from promptchain.retrieval.index import transaction
from promptchain.retrieval.search import DIGITS, Condition

EXACT_MOST = 20_000
"""Vectors that are compared one by one; these take a millisecond for 256 numbers each."""
_CONNECTIVITY, _EXPANSION_ADD, _EXPANSION_SEARCH = 24, 128, 128
"""Measured on 100,000 vectors of 256 numbers: 98 of 100 of the ten nearest are found, in a millisecond."""
_BATCH = 960
"""Texts that are embedded before their vectors are kept: a dozen requests to a hosted model, side by side."""
_FORMAT = "1"
_NAME = "name the embedder (embedder: …), so that each has an index of its own"
INSTALL = "pip install 'promptchain[rag]'"


def require() -> Any:
    """numpy, which comes with usearch. Raises PromptChainError where they are not installed."""
    try:
        import numpy
        import usearch  # noqa: F401
    except ImportError:
        message = "to find passages by their meaning the package usearch is needed"
        raise PromptChainError(message, hint=f"{INSTALL}, or use mode: lexical") from None
    return numpy


# --- which passages have one


def wanting(db: sqlite3.Connection) -> tuple[list[bytes], list[str]]:
    """The next texts without a vector, and the hashes that they are kept by; none when all have theirs.

    A text that had one already, in another file or before a change, is given that.
    """
    with transaction(db):
        db.execute("create index if not exists passages_without on passages(id) where vector is null")
        db.execute("create index if not exists passages_of_vector on passages(vector)")
        while True:
            sql = "select id, heading, text from passages where vector is null order by id limit ?"
            texts = {number: f"{heading}\n\n{text}" for number, heading, text in db.execute(sql, (_BATCH,))}
            hashes = {number: hashlib.sha256(text.encode()).digest() for number, text in texts.items()}
            set_vectors = "update passages set vector = (select id from vectors where hash = ?) where id = ?"
            db.executemany(set_vectors, [(key, number) for number, key in hashes.items()])
            unknown = {}
            if texts:
                marks = ",".join("?" * len(texts))
                left = db.execute(f"select id from passages where vector is null and id in ({marks})", list(texts))
                unknown = {hashes[number]: texts[number] for (number,) in left}
            if unknown or not texts:
                return list(unknown), list(unknown.values())


def keep(db: sqlite3.Connection, hashes: Sequence[bytes], vectors: Sequence[Sequence[float]]) -> None:
    """Keep what texts that were wanting got. Raises PromptChainError for what are no vectors of one length."""
    numpy = require()
    if len(vectors) != len(hashes):
        raise PromptChainError(f"the embedder gave {len(vectors)} vectors for {len(hashes)} texts")
    length = db.execute("select length(vector) / 4 from vectors limit 1").fetchone()
    if lengths := {len(vector) for vector in vectors} - ({length[0]} if length else {len(vectors[0])}):
        expected = length[0] if length else len(vectors[0])
        raise PromptChainError(
            f"the embedder gave a vector of {lengths.pop()} numbers, and others of {expected}",
            hint=_NAME,
        )
    rows = [(key, unit(numpy, vector).tobytes()) for key, vector in zip(hashes, vectors, strict=True)]
    with transaction(db):
        db.executemany("insert or ignore into vectors(hash, vector) values (?, ?)", rows)


def prune(db: sqlite3.Connection) -> None:
    """Forget vectors of texts that are gone, once they are most of them; until then they may come back."""
    live = db.execute("select count(distinct vector) from passages").fetchone()[0]
    kept = db.execute("select count(*) from vectors").fetchone()[0]
    if kept > 2 * live + 1000:
        with transaction(db):
            db.execute("delete from vectors where id not in (select vector from passages where vector is not null)")


def unit(numpy: Any, vector: Sequence[float]) -> Any:
    """The vector with the length 1; one that says nothing stays."""
    found = numpy.asarray(vector, dtype=numpy.float64)
    if found.ndim != 1 or not found.size or not numpy.isfinite(found).all():
        raise PromptChainError("the embedder gave no vector of finite numbers")
    length = float(numpy.sqrt((found * found).sum()))
    return (found / length if length else found).astype(numpy.float32)


# --- which are near


class Vectors:
    """The vectors of the passages of one state of an index. file: where the graph may be kept, before its suffix."""

    def __init__(self, db: sqlite3.Connection, file: Path | None) -> None:
        self._numpy = numpy = require()
        sql = "select distinct vector from passages where vector is not null order by 1"
        self._ids = numpy.fromiter((row[0] for row in db.execute(sql)), dtype=numpy.int64)
        self._graph: Any = None
        self._matrix: Any = None
        if len(self._ids) > EXACT_MOST:
            self._graph = _graph(numpy, db, self._ids, file)
        elif len(self._ids):
            self._matrix = _matrix(numpy, db, self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def nearest(self, vector: Sequence[float], limit: int, only: Sequence[int] | None = None) -> dict[int, float]:
        """The ids of the nearest with their cosines; more than `limit` where the last ones are equally near.

        only: ids that are looked at; these are compared one by one. Raises PromptChainError for a vector of another
        length."""
        if not len(self._ids):
            return {}
        own = unit(self._numpy, vector)
        length = self._graph.ndim if self._graph is not None else self._matrix.shape[1]
        if len(own) != length:
            message = f"the embedder gives vectors of {len(own)} numbers, and those of the passages have {length}"
            raise PromptChainError(message, hint=_NAME)
        if only is None and self._graph is not None:
            found = self._graph.search(own, min(limit, len(self._ids)))
            return {
                int(key): round(1.0 - float(far), DIGITS) for key, far in zip(found.keys, found.distances, strict=True)
            }
        ids = self._ids if only is None else self._numpy.asarray(sorted(only), dtype=self._numpy.int64)
        if not len(ids):
            return {}
        if self._graph is not None:
            matrix = self._numpy.stack(self._graph.get(ids))
        else:
            matrix = self._matrix if only is None else self._matrix[self._numpy.searchsorted(self._ids, ids)]
        scores = self._numpy.round((matrix @ own).astype(self._numpy.float64), DIGITS)
        if len(ids) > limit:
            least = self._numpy.partition(scores, len(ids) - limit)[len(ids) - limit]
            ids, scores = ids[scores >= least], scores[scores >= least]
        return {int(key): float(score) for key, score in zip(ids, scores, strict=True)}


def of_passages(db: sqlite3.Connection, only: Condition) -> list[int]:
    """The vectors of the passages that fulfil a condition."""
    sql = f"select distinct p.vector from passages p where p.vector is not null and {only.sql}"
    return [row[0] for row in db.execute(sql, only.values)]


def _matrix(numpy: Any, db: sqlite3.Connection, ids: Any) -> Any:
    """The vectors of the ids, which ascend."""
    rows = db.execute(
        "select vector from vectors where id in (select vector from passages) and id between ? and ? order by id",
        (int(ids[0]), int(ids[-1])),
    )
    numbers = array("f")
    for (row,) in rows:
        numbers.frombytes(row)
    return numpy.frombuffer(numbers, dtype=numpy.float32).reshape(len(ids), -1)


def _graph(numpy: Any, db: sqlite3.Connection, ids: Any, file: Path | None) -> Any:
    """The graph of the ids: as it was kept, else the last one brought up to date, else a new one."""
    name = hashlib.sha256(_FORMAT.encode() + ids.tobytes()).hexdigest()[:16]
    path = file and file.with_name(f"{file.name}-{name}.usearch")
    length = db.execute("select length(vector) / 4 from vectors limit 1").fetchone()[0]
    graph = None
    for earlier in _kept(file, path):
        if graph := _restored(earlier, length, view=earlier == path):
            break
    if graph is not None and path and len(graph) == len(ids) and bool((numpy.sort(_keys(numpy, graph)) == ids).all()):
        return graph
    graph = _brought_up(numpy, db, graph if graph is not None else _new(length), ids)
    if path is not None and file is not None:
        _save(graph, path, file)
    return graph


def _new(length: int) -> Any:
    from usearch.index import Index

    return Index(
        ndim=length, metric="ip", dtype="f32",
        connectivity=_CONNECTIVITY, expansion_add=_EXPANSION_ADD, expansion_search=_EXPANSION_SEARCH,
    )  # fmt: skip


def _kept(file: Path | None, path: Path | None) -> list[Path]:
    """The graphs in files, the one that is wanted first, then the newest."""
    if file is None:
        return []
    found = []
    with suppress(OSError):
        found = sorted(file.parent.glob(f"{file.name}-*.usearch"), key=lambda one: one.stat().st_mtime, reverse=True)
    return sorted(found, key=lambda one: one != path)


def _restored(path: Path, length: int, *, view: bool) -> Any:
    """The graph in a file, None where that is not whole."""
    graph = _new(length)
    try:
        if path.stat().st_size != int(path.with_suffix(".size").read_text("ascii")):
            return None  # cut off: to look into it would end the process
        graph.view(str(path)) if view else graph.load(str(path))
    except (OSError, ValueError, RuntimeError):
        return None
    graph.expansion_search = _EXPANSION_SEARCH
    return graph if graph.ndim == length else None


def _brought_up(numpy: Any, db: sqlite3.Connection, graph: Any, ids: Any) -> Any:
    have = _keys(numpy, graph)
    gone = numpy.setdiff1d(have, ids)
    if len(gone) * 3 > len(have):  # what is taken out leaves holes in a graph
        graph, have, gone = _new(graph.ndim), have[:0], gone[:0]
    if len(gone):
        graph.remove(gone.astype(numpy.uint64))
    new = numpy.setdiff1d(ids, have)
    for at in range(0, len(new), 10_000):
        some = new[at : at + 10_000]
        # Most are new where many are, so a range of ids is read and the rest of it passed over.
        sql = "select id, vector from vectors where id between ? and ? order by id"
        wanted = set(some.tolist())
        rows = [row for row in db.execute(sql, (int(some[0]), int(some[-1]))) if row[0] in wanted]
        matrix = numpy.frombuffer(b"".join(row[1] for row in rows), dtype=numpy.float32).reshape(len(rows), graph.ndim)
        graph.add(some.astype(numpy.uint64), matrix)
    return graph


def _keys(numpy: Any, graph: Any) -> Any:
    return numpy.asarray(graph.keys, dtype=numpy.int64) if len(graph) else numpy.zeros(0, dtype=numpy.int64)


def _save(graph: Any, path: Path, file: Path) -> None:
    """Keep the graph in its file, whole or not at all; without room it stays in memory only."""
    parts = [path.with_name(f"{path.stem}.{os.getpid()}{suffix}.tmp") for suffix in ("", ".size")]
    try:
        graph.save(str(parts[0]))
        parts[1].write_text(str(parts[0].stat().st_size), "ascii")
        with parts[0].open("rb") as saved:
            os.fsync(saved.fileno())
        parts[1].replace(path.with_suffix(".size"))
        parts[0].replace(path)
        for earlier in _kept(file, path)[1:]:
            earlier.unlink()
            earlier.with_suffix(".size").unlink(missing_ok=True)
    except (OSError, RuntimeError):
        for part in parts:
            with suppress(OSError):
                part.unlink(missing_ok=True)
