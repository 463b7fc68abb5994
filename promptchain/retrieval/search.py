"""Questions to an index: which passages have the words, or the vectors, and fulfil conditions."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptchain.errors import PromptChainError
from promptchain.model import describe
from promptchain.retrieval.passages import Passage

DIGITS = 6
"""Of scores after the point: what is added up in another order is the same then."""
_LARGEST = int(sys.float_info.max)
_VARIABLES = 500
"""Values in one statement; SQLite takes 999 at least."""

Ranked = list[tuple[int, float]]
"""Ids of passages with their scores, the best first; of equals the one that stands first by source and line."""


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL for a passage `p`, with its values; `1` where every passage will do."""

    sql: str = "1"
    values: tuple[Any, ...] = ()


def condition(where: Mapping[str, Any]) -> Condition:
    """The condition that passages have fields with a value, or with one of a list of values.

    A field is `source` (a path from the project's folder, or a pattern of such), `title`, or one of `meta`. One that is
    a list fits by any of its values; a number fits the text that says it. Raises PromptChainError for another value.
    """
    tests, values = list[str](), list[Any]()
    for name, wanted in where.items():
        options = wanted if isinstance(wanted, list | tuple) else [wanted]
        if not all(option is None or isinstance(option, str | int | float) for option in options):
            message = f"'where' compares the field '{name}' with a value or a list of values, not with"
            what = describe(wanted) + (" of such" if options is wanted else "")
            raise PromptChainError(f"{message} {what}")
        either = [_test(name, option) for option in options]
        tests.append("(" + (" or ".join(sql for sql, _ in either) or "0") + ")")
        values += [value for _, own in either for value in own]
    return Condition(" and ".join(tests) or "1", tuple(values))


def _test(name: str, value: Any) -> tuple[str, tuple[Any, ...]]:
    if name == "source":
        return "p.file in (select id from files where path = ? or fits(path, ?))", (str(value), str(value))
    if name == "title":
        return "p.title = ?", (str(value),)
    if not name or '"' in name or "\0" in name:  # in a path of SQLite's these are no names
        raise PromptChainError(f"'where' cannot have a field of the name {name!r}")
    sql, own = _equals(value)
    found = f"exists (select 1 from json_each(p.meta, ?) as j where {sql})"
    return (f"not {found}" if value is None else found), (f"$.{json.dumps(name, ensure_ascii=False)}", *own)


def _equals(value: Any) -> tuple[str, tuple[Any, ...]]:
    """SQL for a value of a field, as json_each tells it."""
    if value is None:
        return "j.type <> 'null'", ()
    if isinstance(value, bool):
        word = str(value).lower()
        return "(j.type = ? or (j.type = 'text' and lower(j.value) = ?))", (word, word)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        value = float(value) if abs(value) < _LARGEST else str(value)  # SQLite has no larger ones but as floats
    numeric = "j.type in ('integer', 'real')"
    if isinstance(value, str):
        return f"((j.type = 'text' and j.value = ?) or ({numeric} and cast(j.value as text) = ?))", (value, value)
    return f"(({numeric} and j.value = ?) or (j.type = 'text' and j.value = ?))", (value, json.dumps(value))


def lexical(db: sqlite3.Connection, expression: str, limit: int, only: Condition) -> Ranked:
    """The passages that an FTS5 expression fits best, by BM25 as a positive number."""
    # Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009; SQLite makes it negative.
    if only.sql == "1":
        sql = "select rowid, rank from fts where fts match ? order by rank limit ?"
    else:
        sql = "select fts.rowid, fts.rank from fts cross join passages p on p.id = fts.rowid"
        sql += f" where fts match ? and {only.sql} order by fts.rank limit ?"
    asked = limit + 8
    while True:
        rows = db.execute(sql, (expression, *only.values, asked)).fetchall()
        scored = [(number, round(-rank, DIGITS)) for number, rank in rows]
        # All that are as good as the last one wanted must be there, to be put in order.
        if len(scored) < asked or scored[limit - 1][1] > scored[-1][1]:
            return ordered(db, scored, limit)
        asked *= 4


def of_vectors(db: sqlite3.Connection, scores: Mapping[int, float], limit: int, only: Condition) -> Ranked:
    """The passages that have the vectors; two of the same text have the same."""
    found: Ranked = []
    for some in _chunks(list(scores)):
        sql = f"select p.id, p.vector from passages p where p.vector in ({_marks(some)}) and {only.sql}"
        found += [(number, scores[vector]) for number, vector in db.execute(sql, (*some, *only.values))]
    return ordered(db, found, limit)


def ordered(db: sqlite3.Connection, scored: Iterable[tuple[int, float]], limit: int) -> Ranked:
    """The best ones, in order."""
    pairs = sorted(scored, key=lambda pair: (-pair[1], pair[0]))
    if len(pairs) > limit:
        pairs = [pair for pair in pairs if pair[1] >= pairs[limit - 1][1]]
    if len({score for _, score in pairs}) == len(pairs):
        return pairs
    places: dict[int, tuple[str, int]] = {}
    for some in _chunks([number for number, _ in pairs]):
        sql = "select p.id, f.path, p.line from passages p join files f on f.id = p.file where p.id in "
        rows = db.execute(f"{sql}({_marks(some)})", some)
        places |= {number: (path, line) for number, path, line in rows}
    return sorted(pairs, key=lambda pair: (-pair[1], places[pair[0]], pair[0]))[:limit]


def every(db: sqlite3.Connection, only: Condition, limit: int) -> Ranked:
    """Passages as they stand in the files, without a score."""
    sql = f"select p.id from passages p join files f on f.id = p.file where {only.sql} order by f.path, p.line, p.id"
    return [(number, 0.0) for (number,) in db.execute(f"{sql} limit ?", (*only.values, limit))]


def passages(db: sqlite3.Connection, ranked: Ranked) -> list[Passage]:
    """The passages in the order of the ranking."""
    scores, found = dict(ranked), dict[int, Passage]()
    for some in _chunks(list(scores)):
        sql = "select p.id, p.text, p.title, f.path, p.line, p.meta from passages p join files f on f.id = p.file"
        for number, text, title, source, line, meta in db.execute(f"{sql} where p.id in ({_marks(some)})", some):
            found[number] = Passage(text, title, source, line, scores[number], json.loads(meta))
    return [found[number] for number in scores]


def _marks(values: Sequence[int]) -> str:
    return ",".join("?" * len(values))


def _chunks(values: Sequence[int]) -> Iterable[Sequence[int]]:
    return (values[at : at + _VARIABLES] for at in range(0, len(values), _VARIABLES))
