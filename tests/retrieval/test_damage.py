"""An index that is damaged, strange, without a place, or was being written when its process was killed."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from promptchain.errors import PromptChainError
from promptchain.retrieval import dense, index, search
from promptchain.retrieval.corpus import fingerprint_of
from promptchain.retrieval.passages import Passage
from tests.retrieval.kit import ask, by_letters, corpus, run, sources, spec, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, docs_S_a__md="# Refunds\n\nFive days.\n", docs_S_b__md="# Cards\n\nTwo days.\n")
    with corpus(tmp_path) as found:
        run(found.refresh(by_letters))
    return tmp_path


def kept(root: Path) -> Path:
    (path,) = (root / ".promptchain/retrieval").glob("*.db")
    return path


def is_right(root: Path) -> None:
    with corpus(root) as found:
        assert sources(found, "refunds") == ["docs/a.md"]
        assert not found.warnings
        assert sources(found, "# Cards", mode="dense", embed=by_letters)[0] == "docs/b.md"
        assert kept(root).stat().st_size > 4096


def another_format(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute(f"pragma user_version = {index.FORMAT + 1}")
    db.close()


def foreign(path: Path) -> None:
    path.unlink()
    db = sqlite3.connect(path)
    db.execute("create table files(x)")
    db.close()


def without_a_table(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("drop table passages")
    db.close()


def overwritten(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"garbage " * 2000),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "overwritten": overwritten,
    "another format": another_format,
    "foreign": foreign,
    "without a table": without_a_table,
    "with a foreign log": lambda path: path.with_name(path.name + "-wal").write_bytes(b"garbage " * 900),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_index_is_made_anew(damage: Callable[[Path], object], root: Path) -> None:
    damage(kept(root))
    assert len(fingerprint_of(root, root, spec(), root / ".promptchain")) == 2
    is_right(root)


def test_damage_that_only_a_search_sees_is_mended(root: Path) -> None:
    time.sleep(0.1)  # so that no file is as new as its reading
    with corpus(root) as found:
        run(found.refresh())
    db = sqlite3.connect(kept(root))
    db.execute("drop table fts")
    db.close()
    with corpus(root) as found:
        run(found.refresh())
        assert sources(found, "refunds") == ["docs/a.md"]
    is_right(root)


def test_what_is_damaged_again_and_again_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        exc = sqlite3.DatabaseError("database disk image is malformed")
        exc.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise exc

    with corpus(root) as found:
        run(found.refresh())
        monkeypatch.setattr(search, "lexical", broken)
        with pytest.raises(PromptChainError, match="again and again"):
            ask(found, "refunds")


def in_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def no_folder(path: Path) -> None:
    for one in path.parent.iterdir():
        one.unlink()
    path.parent.rmdir()
    path.parent.write_text("a file")


@pytest.mark.parametrize("obstacle", [in_place, no_folder])
def test_without_a_place_the_index_is_in_memory(obstacle: Callable[[Path], None], root: Path) -> None:
    obstacle(kept(root))
    with corpus(root) as found:
        before = run(found.refresh(by_letters))
        assert "in memory" in found.warnings[0]
        assert sources(found, "refunds") == ["docs/a.md"]
        assert sources(found, "# Cards", mode="hybrid", embed=by_letters)[0] == "docs/b.md"
        (root / "docs/a.md").write_text("# Pigeons\n")
        assert run(found.refresh(by_letters)) != before
        assert sources(found, "pigeons") == ["docs/a.md"]
        assert sources(found, "refunds") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(root: Path) -> None:
    folder = kept(root).parent
    for path in folder.iterdir():
        path.chmod(0o400)
    folder.chmod(0o500)
    try:
        with corpus(root) as found:
            run(found.refresh())
            assert sources(found, "refunds") == ["docs/a.md"]
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR])
def test_a_full_disk_leaves_the_index_in_memory(code: int, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = index.take

    def full(db: sqlite3.Connection, *rest: object) -> int:
        if db.execute("pragma database_list").fetchone()[2]:  # it has a file
            exc = sqlite3.OperationalError("database or disk is full")
            exc.sqlite_errorcode = code
            raise exc
        return real(db, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(index, "take", full)
    write(root, docs_S_c__md="# Pigeons\n")
    with corpus(root) as found:
        assert sources(found, "pigeons") == ["docs/c.md"]
        assert "full" in found.warnings[0]
    monkeypatch.undo()
    is_right(root)


def test_a_disk_that_gets_full_while_passages_are_embedded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = dense.keep

    def full(db: sqlite3.Connection, *rest: object) -> None:
        if db.execute("pragma database_list").fetchone()[2]:
            exc = sqlite3.OperationalError("database or disk is full")
            exc.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise exc
        real(db, *rest)  # type: ignore[arg-type]

    write(root, docs_S_c__md="# Pigeons\n")
    monkeypatch.setattr(dense, "keep", full)
    with corpus(root) as found:
        assert sources(found, "# Pigeons", mode="dense", embed=by_letters)[0] == "docs/c.md"
        assert len(ask(found, "five two pigeons", mode="dense", embed=by_letters)) == 3
        assert "full" in found.warnings[0]


def test_an_embedder_that_fails_is_no_fault_of_the_index(root: Path) -> None:
    async def unreachable(texts: object) -> list[list[float]]:
        raise ConnectionError("no network")

    write(root, docs_S_c__md="# Pigeons\n")
    with corpus(root) as found:
        with pytest.raises(ConnectionError):
            run(found.refresh(unreachable))
        assert sources(found, "pigeons") == ["docs/c.md"]
        assert not found.warnings


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """As far as a process may write: SQLite is told that there is no room, as by a disk."""
    rows = "".join(f'{{"text": "refund {n} {"word " * 30}"}}\n' for n in range(3000))
    write(tmp_path, docs_S_a__jsonl=rows)
    code = BUILD.format(root=str(tmp_path)) + "\nprint(corpus.warnings)"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # noqa: E731
    done = subprocess.run(
        [sys.executable, "-c", "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + code],
        preexec_fn=limit, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert "in memory" in done.stdout, done.stderr
    with corpus(tmp_path) as found:
        assert ask(found, "refund 77")[0].line == 78
        assert not found.warnings


# --- processes

BUILD = """
import asyncio, sys
from pathlib import Path
from promptchain.parts import Retrieve
from promptchain.retrieval.corpus import Corpus
root = Path({root!r})
corpus = Corpus(root, root, Retrieve(**{{"from": "docs/**", "query": "q"}}), root / ".promptchain")
print("begin", flush=True)
print(asyncio.run(corpus.refresh()), flush=True)
"""


def started(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", BUILD.format(root=str(root))], stdout=subprocess.PIPE, text=True)


def test_a_kill_at_any_instant_leaves_an_index_that_becomes_right(tmp_path: Path) -> None:
    for number in range(20):
        rows = "".join(f'{{"text": "refund {n} of {number} {"word " * 20}"}}\n' for n in range(500))
        write(tmp_path, **{f"docs_S_f{number}__jsonl": rows})
    with corpus(tmp_path, state=tmp_path / "other") as found:
        right = run(found.refresh())
        expected = ask(found, "refund 7", top_k=50)
    for seconds in (0.0, 0.05, 0.15, 0.3):
        process = started(tmp_path)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with corpus(tmp_path) as found:
        assert run(found.refresh()) == right
        assert ask(found, "refund 7", top_k=50) == expected
    db = sqlite3.connect(kept(tmp_path))
    assert db.execute("select count(*) from passages").fetchone() == (10_000,)
    assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    db.close()


def test_processes_at_once_do_not_clash(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path, **{f"docs_S_f{number}__jsonl": "".join(f'{{"text": "refund {n}"}}\n' for n in range(200))})
    processes = [started(tmp_path) for _ in range(4)]
    said = [process.communicate(timeout=600)[0].split()[-1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len(set(said)) == 1
    with corpus(tmp_path) as found:
        assert run(found.refresh()) == said[0]
        assert len(ask(found, "refund", top_k=5000)) == 4000


def test_another_process_does_not_change_what_this_one_sees(root: Path) -> None:
    with corpus(root) as found, corpus(root) as other:
        before = run(found.refresh())
        (root / "docs/a.md").write_text("# Pigeons\n")
        assert run(other.refresh()) != before
        assert sources(other, "refunds") == []
        assert sources(found, "refunds") == ["docs/a.md"]
        assert run(found.refresh()) == other.fingerprint
        assert sources(found, "pigeons") == ["docs/a.md"]


def test_two_that_embed_at_once_pay_once(tmp_path: Path) -> None:
    import asyncio

    write(tmp_path, docs_S_a__jsonl="".join(f'{{"text": "row {n}"}}\n' for n in range(600)))
    asked: list[str] = []

    async def embed(texts: object) -> list[list[float]]:
        asked.extend(texts)  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        return await by_letters(texts)  # type: ignore[arg-type]

    async def both() -> None:
        with corpus(tmp_path) as one, corpus(tmp_path) as other:
            await asyncio.gather(one.refresh(embed), other.refresh(embed))

    run(both())
    assert len(asked) == 600


def test_damage_that_only_the_passages_of_a_file_show_is_mended(root: Path) -> None:
    """Where gold input is looked for, that is."""
    time.sleep(0.1)  # so that no file is as new as its reading
    with corpus(root) as found:
        run(found.refresh())
    db = sqlite3.connect(kept(root))
    db.execute("alter table passages drop column meta")
    db.close()
    with corpus(root) as found:
        run(found.refresh())
        assert [passage.source for passage in run(found.of(["docs/a.md"]))] == ["docs/a.md"]
    is_right(root)


def test_searches_side_by_side_of_a_damaged_index(root: Path) -> None:
    """One of them mends it, while the others find it gone."""
    time.sleep(0.1)
    with corpus(root) as found:
        run(found.refresh())
    db = sqlite3.connect(kept(root))
    db.execute("drop table fts")
    db.close()

    async def many() -> list[list[Passage]]:
        async def later(turns: int) -> list[Passage]:
            for _ in range(turns):
                await asyncio.sleep(0)
            return await found.search("refunds", top_k=1)

        return await asyncio.gather(*(later(turns) for turns in range(200)))

    with corpus(root) as found:
        run(found.refresh())
        assert {passage.source for passages in run(many()) for passage in passages} == {"docs/a.md"}
