"""Runs: the spool, segments and what a crash leaves between them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from _pytest.outcomes import Failed
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from promptchain.errors import StoreError, UsageError
from promptchain.store.index import Query
from promptchain.store.repo import Repository
from promptchain.store.runs import Runs
from promptchain.store.spool import SEGMENT, Spool, day_of, is_due, today
from tests.store import kit
from tests.store.kit import at, fsck, git, record, recorded, segments, spool

OLD = "2026-03-09"


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    git(tmp_path, "init", "-q")
    return Repository(tmp_path / ".git")


@pytest.fixture
def runs(repo: Repository) -> Runs:
    return Runs(repo)


def ids(runs: Runs, **query: Any) -> list[str]:
    return [row.id for row in runs.select(Query(**query))]


# --- the spool ----------------------------------------------------------------------------------------------------


def test_a_record_is_on_disk_before_it_is_told_of(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        steps.append("folder" if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir() else "file")
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    path = Spool(repo.state).write(at(1), record(at(1)))
    assert steps == ["file", "rename", "folder"]
    assert path.stat().st_mode & 0o077 == 0  # what was said to a model is nobody else's
    steps.clear()
    Spool(repo.state).write(at(2), record(at(2)), durable=False)
    assert steps == ["rename"]


def test_half_a_record_is_no_record(repo: Repository, runs: Runs) -> None:
    spool(repo, at(1))
    for name in (f".{at(2)}.77.tmp", f"{at(3)}.broken", "notes.json", "x.claim", f"{at(4)}.json.swp"):
        (runs.spool.folder / name).write_text(record(at(2))[:20])
    assert runs.spool.ids() == ids(runs) == [at(1)]
    assert runs.spool.claims() == []
    assert runs.flush(everything=True) == 1


def test_a_record_that_cannot_be_written_is_a_clear_error(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        Spool(repo.state).write(at(1), record(at(1)))
    assert list(Spool(repo.state).folder.iterdir()) == []


def test_the_fallback_is_not_listed_by_git(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    repo = Repository(tmp_path / "sub/.promptchain/store.git")
    spool(repo, at(1))
    assert git(tmp_path, "status", "--porcelain") == ""
    assert ids(Runs(repo)) == [at(1)]
    assert Runs(repo).flush(everything=True) == 1  # into a repository that there was none of
    assert recorded(repo) == [at(1)]


def test_the_day_is_in_the_id() -> None:
    assert (day_of(at(1, OLD)), day_of(at(1))) == (OLD, today())
    assert day_of("0" * 26) == "1970-01-01"
    assert day_of("7" + "z" * 25) == "9999-12-31"


# --- into git -----------------------------------------------------------------------------------------------------


def test_runs_wait_until_there_are_enough(repo: Repository, runs: Runs) -> None:
    many = [at(number) for number in range(1, SEGMENT)]
    spool(repo, *many)
    assert (is_due(runs.spool), runs.flush(), segments(repo)) == (False, 0, 0)
    spool(repo, at(SEGMENT), at(SEGMENT + 1))
    assert runs.flush() == SEGMENT
    assert (segments(repo), runs.spool.ids()) == (1, [at(SEGMENT + 1)])
    assert recorded(repo) == [*many, at(SEGMENT), at(SEGMENT + 1)]
    assert len(ids(runs)) == SEGMENT + 1


def test_a_day_that_is_over_is_committed(repo: Repository, runs: Runs) -> None:
    assert (runs.flush(), runs.flush(everything=True)) == (0, 0)
    spool(repo, at(1, "2026-02-28"), at(1, OLD), at(2, OLD), at(1, "2026-03-10"), at(1))
    assert runs.flush() == 4
    assert runs.spool.ids() == [at(1)]
    assert (segments(repo), set(repo.refs("runs"))) == (3, {"2026-02", "2026-03"})
    assert len(repo.tree("refs/promptchain/runs/2026-03:seg/09")) == 1
    assert runs.flush() == 0
    assert runs.flush(everything=True) == 1
    assert recorded(repo) == ids(runs)[::-1]


def test_a_record_comes_back_as_it_was(repo: Repository, runs: Runs) -> None:
    odd = {"text": 'ünï 🙂 \u2028 \x00 "\\ \n\r', "nested": [{"a": None}, 1.5], "big": 10**30}
    spool(repo, at(1, OLD), outputs=odd)
    written = json.loads(record(at(1, OLD), outputs=odd))
    [row] = runs.select(Query())
    assert runs.read(row) == written
    runs.flush()
    [row] = runs.select(Query())
    assert runs.read(row) == written


def test_a_record_is_found_though_it_moved(repo: Repository, runs: Runs) -> None:
    spool(repo, at(1, OLD))
    row = runs.find("last")
    assert row is not None
    runs.flush()
    assert runs.read(row)["id"] == at(1, OLD)
    git(repo.git_dir, "update-ref", "-d", "refs/promptchain/runs/2026-03")
    with pytest.raises(StoreError, match="cannot be read"):
        runs.read(row)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "another"}', "\xff", "[" * 100_000])
def test_what_is_no_record_is_set_aside(repo: Repository, runs: Runs, text: str) -> None:
    spool(repo, at(1, OLD), at(3, OLD))
    runs.spool.path(at(2, OLD)).write_text(text, encoding="latin-1")
    assert ids(runs) == [at(3, OLD), at(1, OLD)]
    runs.flush()
    assert recorded(repo) == [at(1, OLD), at(3, OLD)]
    [broken] = runs.spool.folder.iterdir()
    assert (broken.name, broken.read_text(encoding="latin-1")) == (f"{at(2, OLD)}.broken", text)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"ids": []}', '{"ids": ["../x"], "ref": "a", "path": "b"}'])
def test_what_is_no_claim_is_passed_over(repo: Repository, runs: Runs, text: str) -> None:
    spool(repo, at(1, OLD))
    (runs.spool.folder / "x.claim").write_text(text)
    assert runs.flush() == 1
    assert recorded(repo) == [at(1, OLD)]


# --- a crash ------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@contextmanager
def crashing(target: Any, name: str, *, after: int, before: bool) -> Iterator[None]:
    """Have the process end around the `after`th call."""
    original: Callable[..., Any] = getattr(target, name)
    calls = 0

    def wrapped(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == after and before:
            raise Crash
        result = original(*args, **options)
        if calls == after:
            raise Crash
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, name, wrapped)
        with pytest.raises(Crash):
            yield


EDGES = {
    "before the claim": (Spool, "claim", 1, True),
    "after the claim": (Spool, "claim", 1, False),
    "before the commit": (Repository, "write", 1, True),
    "after the commit": (Repository, "write", 1, False),
    "before the first is removed": (Spool, "remove", 1, True),
    "half-way": (Spool, "remove", 2, False),
    "after the last is removed": (Spool, "remove", 3, False),
    "in the second segment": (Repository, "write", 2, False),
    "before the second claim": (Spool, "claim", 2, True),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("meanwhile", [False, True], ids=["", "more came"])
def test_a_crash_loses_none_and_doubles_none(repo: Repository, edge: str, meanwhile: bool) -> None:
    target, name, after, before = EDGES[edge]
    all_of_them = [at(1, OLD), at(2, OLD), at(3, OLD), at(1, "2026-03-10"), at(2, "2026-03-10")]
    spool(repo, *all_of_them)
    with crashing(target, name, after=after, before=before):
        Runs(repo).flush()
    with Repository(repo.git_dir) as again:
        assert sorted(ids(Runs(again))) == sorted(all_of_them)  # also before anything was put in order
        if meanwhile:
            spool(again, at(0, OLD))
            all_of_them.append(at(0, OLD))
        Runs(again).flush()
        assert recorded(again) == sorted(all_of_them)
        assert sorted(ids(Runs(again))) == sorted(all_of_them)
        assert list(Runs(again).spool.folder.iterdir()) == []
        assert Runs(again).flush() == 0
    fsck(repo.git_dir)


def test_a_crash_between_the_removals_and_the_claims_own(repo: Repository) -> None:
    spool(repo, at(1, OLD))
    with crashing(Path, "unlink", after=2, before=True):  # the record's, then the claim's
        Runs(repo).flush()
    assert len(Runs(repo).spool.claims()) == 1
    assert recorded(repo) == [at(1, OLD)]
    Runs(repo).flush()
    assert Runs(repo).spool.claims() == []
    assert (recorded(repo), segments(repo)) == ([at(1, OLD)], 1)


# --- finding ------------------------------------------------------------------------------------------------------


def test_queries(repo: Repository, runs: Runs) -> None:
    spool(repo, at(1, OLD), started="2026-03-09T08:00:00Z", source="a" * 64)
    spool(repo, at(2, OLD), started="2026-03-09T09:00:00Z", status="failed", error="no", model=None)
    runs.flush()
    spool(repo, at(1), chain="other", started="2026-11-24T09:00:00Z", totals=None, version=None)
    assert ids(runs) == [at(1), at(2, OLD), at(1, OLD)]
    assert ids(runs, chain="demo") == [at(2, OLD), at(1, OLD)]
    assert ids(runs, status="failed") == [at(2, OLD)]
    assert ids(runs, model="m") == [at(1), at(1, OLD)]
    assert ids(runs, since="2026-03-09T09:00:00Z") == [at(1), at(2, OLD)]
    assert ids(runs, sources=("a" * 64, "b" * 64)) == [at(1, OLD)]
    assert ids(runs, sources=()) == []
    assert ids(runs, limit=1, chain="demo") == [at(2, OLD)]
    assert ids(runs, limit=0) == []
    newest, failed, first = runs.select(Query())
    assert (newest.calls, newest.tokens, newest.cost, newest.place) == (0, 0, None, "")
    assert (failed.error, failed.model, failed.status) == ("no", None, "failed")
    assert (first.calls, first.tokens, first.cost, first.seconds) == (2, 42, 0.01, 0.5)


def test_a_run_by_the_beginning_of_its_id(repo: Repository, runs: Runs) -> None:
    assert runs.find("last") is None
    spool(repo, at(1, OLD), at(2, OLD), at(1))
    runs.flush()
    for reference, expected in {"last": at(1), at(1): at(1), at(1, OLD).upper(): at(1, OLD), at(1)[:9]: at(1)}.items():
        row = runs.find(reference)
        assert row is not None
        assert row.id == expected
    with pytest.raises(UsageError, match="the beginning of several runs"):
        runs.find(at(1, OLD)[:8])
    for unknown in ("zzzz", "%", "*", "' or 1=1"):
        assert runs.find(unknown) is None


# --- against a model ----------------------------------------------------------------------------------------------


class Story(RuleBasedStateMachine):
    """Spool, segments and index, against a set of ids."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.repo = Repository(Path(self.folder.name) / "store.git")
        self.known: dict[str, str] = {}

    def teardown(self) -> None:
        Runs(self.repo).flush(everything=True)
        if self.known:
            assert recorded(self.repo) == sorted(self.known)
            fsck(self.repo.git_dir)
        self.repo.close()
        self.folder.cleanup()

    @rule(day=st.sampled_from([None, OLD, "2026-03-10", "2026-04-01"]), chain=st.sampled_from(["one", "two"]))
    def write(self, day: str | None, chain: str) -> None:
        run_id = at(len(self.known), day)
        spool(self.repo, run_id, chain=chain)
        self.known[run_id] = chain

    @rule(everything=st.booleans())
    def flush(self, everything: bool) -> None:
        Runs(self.repo).flush(everything=everything)

    @precondition(lambda self: Spool(self.repo.state).ids())
    @rule(edge=st.sampled_from([edge for edge in EDGES.values() if edge[2] == 1]))
    def crash(self, edge: tuple[Any, str, int, bool]) -> None:
        target, name, after, before = edge
        crash = crashing(target, name, after=after, before=before)
        with suppress(Failed), crash:  # it does not come by an edge that an earlier crash was beyond
            Runs(self.repo).flush(everything=True)

    @rule(how=st.sampled_from(["lose", "garbage", "cut", "zeros"]))
    def spoil_the_index(self, how: str) -> None:
        path = self.repo.state / "index.db"
        if path.exists():
            data = path.read_bytes()
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            half = len(data) // 2
            spoilt = {"garbage": b"garbage", "cut": data[:half], "zeros": data[:half] + b"\0" * half}
            if how in spoilt:
                path.write_bytes(spoilt[how])

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        runs = Runs(self.repo)
        rows = runs.select(Query())
        assert {row.id: row.chain for row in rows} == self.known
        assert [row.id for row in rows] == sorted(self.known, reverse=True)
        assert sorted(ids(runs, chain="one")) == sorted(i for i, chain in self.known.items() if chain == "one")
        assert all(runs.read(row)["id"] == row.id for row in rows[:2])


TestStory = Story.TestCase
TestStory.settings = settings(
    max_examples=12 * kit.STRESS, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_record_that_cannot_be_read_just_now_is_kept(
    repo: Repository, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool(repo, at(1))

    def fail(self: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", fail)
        with pytest.raises(StoreError, match="cannot be read: Too many open files"):
            runs.flush(everything=True)
    assert runs.flush(everything=True) == 1
    assert recorded(repo) == [at(1)]
