"""The index is derived: whatever becomes of it, the same runs are found, and nothing is shown wrongly for long."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from promptchain.store.index import Index, Query
from promptchain.store.repo import Repository
from promptchain.store.runs import Runs
from promptchain.store.spool import Spool
from promptchain.store.stream import NewCommit
from tests.store import kit
from tests.store.kit import at, git, record, spool

OLD = "2026-03-09"
MANY = [at(number, OLD) for number in range(1, 200)]


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    git(tmp_path, "init", "-q")
    repo = Repository(tmp_path / ".git")
    spool(repo, *MANY, error="x" * 100)
    Runs(repo).flush()
    spool(repo, at(1))
    return repo


def ids(repo: Repository) -> list[str]:
    return [row.id for row in Runs(repo).select(Query())][::-1]


def lose(path: Path) -> None:
    path.unlink()


def no_database(path: Path) -> None:
    path.write_bytes(b"no database at all" * 99)


def another_format(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("pragma user_version = 7")
    db.close()


def other_tables(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("drop table runs")
        db.execute("create table runs(id text)")
    db.close()


def a_damaged_page(path: Path) -> None:
    """Of the runs, which the check whether there is anything new does not come by."""
    with sqlite3.connect(path) as db:
        root = db.execute("select rootpage from sqlite_master where name = 'runs_of_chain'").fetchone()[0]
        size = db.execute("pragma page_size").fetchone()[0]
    db.close()
    data = bytearray(path.read_bytes())
    data[(root - 1) * size : root * size] = b"\xff" * size
    path.write_bytes(data)


def a_folder(path: Path) -> None:
    path.unlink()
    (path / "x").mkdir(parents=True)


@pytest.mark.parametrize("spoil", [lose, no_database, another_format, other_tables, a_damaged_page, a_folder])
def test_an_index_that_is_spoilt_is_made_again(repo: Repository, spoil: Callable[[Path], None]) -> None:
    assert ids(repo) == [*MANY, at(1)]
    path = repo.state / "index.db"
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    spoil(path)
    runs = Runs(repo)
    assert [row.id for row in runs.select(Query(chain="demo"))] == [at(1), *MANY[::-1]]
    assert ids(repo) == [*MANY, at(1)]
    row = runs.find(MANY[7])
    assert row is not None
    assert runs.read(row)["id"] == MANY[7]


def test_an_index_that_cannot_be_written_is_done_without(repo: Repository) -> None:
    assert ids(repo) == [*MANY, at(1)]
    path = repo.state / "index.db"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.symlink_to(repo.state / "nowhere/index.db")
    assert ids(repo) == [*MANY, at(1)]


def test_two_processes_at_once_see_the_same(repo: Repository) -> None:
    script = """
import sys
from pathlib import Path
from promptchain.store.index import Query
from promptchain.store.repo import Repository
from promptchain.store.runs import Runs
for _ in range(20):
    print(len(Runs(Repository(Path(sys.argv[1]))).select(Query())))
"""
    processes = [kit.python(script, repo.git_dir) for _ in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert (process.returncode, set(out.split())) == (0, {"200"}), err


class Racing(Spool):
    """A spool that is emptied by another process at a chosen moment of reading."""

    def __init__(self, repo: Repository, moment: str) -> None:
        super().__init__(repo.state)
        self.repo, self.moment, self.done = repo, moment, False

    def strike(self, moment: str) -> None:
        if moment == self.moment and not self.done:
            self.done = True
            Runs(self.repo).flush(everything=True)

    def ids(self) -> list[str]:
        self.strike("before the listing")
        found = super().ids()
        self.strike("after the listing")
        return found

    def read(self, run_id: str) -> dict[str, object] | None:
        self.strike("before the reading")
        return super().read(run_id)


@pytest.mark.parametrize("moment", ["before the listing", "after the listing", "before the reading"])
@pytest.mark.parametrize("known", [False, True])
def test_a_run_that_moves_while_the_index_is_read_is_not_missed(repo: Repository, moment: str, known: bool) -> None:
    if known:
        Index(repo, Spool(repo.state)).close()
        spool(repo, at(2))
    expected = [*MANY, at(1), *([at(2)] if known else [])]
    index = Index(repo, Racing(repo, moment))
    assert [row.id for row in index.select(Query())][::-1] == expected
    index.close()
    assert ids(repo) == expected


def test_runs_of_a_ref_that_is_gone_are_not_listed(repo: Repository) -> None:
    assert ids(repo) == [*MANY, at(1)]
    git(repo.git_dir, "update-ref", "-d", "refs/promptchain/runs/2026-03")
    assert ids(repo) == [at(1)]


HOSTILE = [
    b"{", b"[]", b"null", b"", b"\xff\xfe", b"[" * 100_000, b'{"id": 5}', b'{"id": "short"}', b'{"chain": "x"}',
    *(record(at(9, OLD), **odd).encode() for odd in (
        {"chain": {"a": 1}}, {"source": ["x"]}, {"model": 5}, {"started": None}, {"seconds": "long"},
        {"seconds": 10**400}, {"status": {}}, {"error": ["no"]}, {"totals": 7}, {"version": "v7"}, {"version": 10**30},
        {"chain": "\udce9"},
        {"totals": {"calls": "x", "prompt_tokens": {}, "completion_tokens": "y", "cost": "much"}},
        {"totals": {"calls": 10**30, "prompt_tokens": 1e300, "cost": float("nan")}},
    )),
]  # fmt: skip


@pytest.mark.parametrize("line", HOSTILE)
def test_a_segment_with_anything_in_it_hides_nothing(repo: Repository, line: bytes) -> None:
    tip = repo.tip("runs/2026-03")
    assert tip is not None
    path, wrong = "seg/09/" + "a" * 32 + ".jsonl", "seg/x/\udce9é".encode("utf-8", "replace").decode()
    text = line + b"\n" + record(at(500, OLD)).encode()
    repo.write([NewCommit("runs/2026-03", "by others", (tip,), {path: text, wrong: b"{}"})])
    found = Runs(repo).select(Query())
    assert {*MANY, at(1), at(500, OLD)} <= {row.id for row in found} <= {*MANY, at(1), at(500, OLD), at(9, OLD)}
    for row in found:
        assert isinstance(row.chain + row.status + row.started + (row.model or "") + (row.error or ""), str)
        assert row.seconds + row.calls + row.tokens + (row.cost or 0) >= 0
        json.dumps(row.place)
