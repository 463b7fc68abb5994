"""The mark of a garbage collection: read as git reads it, and held so that git sees it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from promptchain.errors import StoreError
from promptchain.store import collection
from promptchain.store import repo as repo_module
from promptchain.store.collection import MARK, is_running, kept_out
from promptchain.store.repo import Repository
from tests.patience import PATIENCE
from tests.store import kit
from tests.store.kit import commit, fsck, git, texts

HERE = socket.gethostname()


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return kit.work_tree(tmp_path / "project")


def dead() -> int:
    """The id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def gc(repo: Repository) -> subprocess.CompletedProcess[str]:
    command = ["git", f"--git-dir={repo.git_dir}", "gc", "-q", "--prune=now"]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("text", "age", "running"),
    [
        (f"{os.getpid()} {HERE}", 0, True),
        (f"{os.getpid()} {HERE}\n", 60, True),
        (f"{os.getpid()} {HERE}", collection.FORGOTTEN + 60, False),
        ("1 elsewhere", 0, True),
        ("1 elsewhere", collection.FORGOTTEN + 60, False),
        (f"{dead()} {HERE}", 0, False),
        (f"{10**30} {HERE}", 0, True),
        ("", 0, False),
        ("\x00\xff", 0, False),
        (f"-1 {HERE}", 0, False),
    ],
)
def test_a_mark_tells_whether_a_collection_is_running(tmp_path: Path, text: str, age: float, running: bool) -> None:
    mark = tmp_path / MARK
    mark.write_text(text, encoding="utf-8")
    os.utime(mark, (time.time() - age,) * 2)
    assert is_running(tmp_path) is running


def test_without_a_mark_none_is_running(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    (tmp_path / MARK).mkdir()
    assert not is_running(tmp_path)


def test_git_begins_no_collection_while_it_is_kept_out(repo: Repository) -> None:
    commit(repo, "one")
    with kept_out(repo.git_dir, 5) as alone:
        assert alone
        done = gc(repo)
        assert done.returncode
        assert "gc is already running" in done.stderr
    assert gc(repo).returncode == 0
    assert not (repo.git_dir / MARK).exists()


def test_the_end_of_a_collection_is_waited_for(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = repo.git_dir / MARK
    mark.write_text(f"{os.getppid()} {HERE}")
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 50:
            mark.unlink()

    monkeypatch.setattr(collection, "time", SimpleNamespace(monotonic=time.monotonic, time=time.time, sleep=wait))
    with kept_out(repo.git_dir, PATIENCE) as alone:
        assert alone
    assert len(waits) == 50


def test_a_collection_that_does_not_end_is_not_waited_for_forever(repo: Repository) -> None:
    mark = repo.git_dir / MARK
    mark.write_text("1 elsewhere")
    with kept_out(repo.git_dir, 0.1) as alone:
        assert not alone
    assert mark.read_text() == "1 elsewhere"


def test_a_collection_that_is_just_beginning_has_the_mark(repo: Repository) -> None:
    """It holds the lock while it looks for a mark, and puts its own in place."""
    mark, lock = repo.git_dir / MARK, repo.git_dir / f"{MARK}.lock"
    lock.write_text(f"{os.getppid()} {HERE}")
    timer = threading.Timer(0.1, lock.replace, [mark])
    timer.start()
    with kept_out(repo.git_dir, 0.5) as alone:
        assert not alone
    timer.join()
    assert mark.read_text() == f"{os.getppid()} {HERE}"
    assert not lock.exists()


def test_a_lock_of_the_mark_that_a_crash_left_is_removed(repo: Repository) -> None:
    lock = repo.git_dir / f"{MARK}.lock"
    lock.touch()
    os.utime(lock, (time.time() - 90,) * 2)
    with kept_out(repo.git_dir, 5) as alone:
        assert alone
    assert not lock.exists()


def test_two_at_once_do_not_both_have_it(repo: Repository) -> None:
    inside = most = 0
    guard = threading.Lock()

    def hold() -> None:
        nonlocal inside, most
        for _ in range(20):
            with kept_out(repo.git_dir, 60) as alone:
                assert alone
                with guard:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.0005)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_what_a_killed_holder_leaves_holds_nobody_up(repo: Repository) -> None:
    code = "import os, sys; from pathlib import Path; from promptchain.store.collection import kept_out\n"
    code += "with kept_out(Path(sys.argv[1]), 5) as alone:\n    print(alone, flush=True)\n    os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code, str(repo.git_dir)], capture_output=True, text=True)
    assert done.stdout == "True\n"
    assert (repo.git_dir / MARK).exists()
    assert not is_running(repo.git_dir)
    with kept_out(repo.git_dir, 5) as alone:
        assert alone
    assert gc(repo).returncode == 0


def test_where_no_mark_can_be_made_it_goes_on_without(tmp_path: Path) -> None:
    with kept_out(tmp_path / "nothing", 5) as alone:
        assert not alone


def test_a_write_that_collections_spoil_time_and_again_succeeds(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection before each try deletes what the try has written, unless it is kept out."""
    commit(repo, "one")
    import_ = Repository._import
    spoilt = 0

    def spoil(self: Repository, *args: object, **kwargs: object) -> list[str]:
        nonlocal spoilt
        if gc(self).returncode == 0:
            spoilt += 1
            raise StoreError("git fast-import failed: pack-1.pack: No such file or directory")
        return import_(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Repository, "_import", spoil)
    commit(repo, "two")
    assert spoilt == 1
    assert texts(repo) == {1: "one", 2: "two"}
    fsck(repo.git_dir)
    assert kit.litter(repo.git_dir) == []
    git(repo.git_dir, "gc", "-q", "--prune=now")
    assert texts(repo) == {1: "one", 2: "two"}


def test_a_full_disk_is_told_at_once_beside_a_collection(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    (repo.git_dir / MARK).write_text("1 elsewhere")
    tries = 0

    def full(*_: object, **__: object) -> list[str]:
        nonlocal tries
        tries += 1
        raise StoreError("git fast-import failed: unable to write: No space left on device")

    monkeypatch.setattr(repo_module.Repository, "_import", full)
    with pytest.raises(StoreError, match="No space left"):
        commit(repo, "one")
    assert tries == 1


def test_while_it_is_kept_out_no_collection_is_to_blame(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter(["pack-1.pack: No such file or directory", "index file corrupt"])

    def fail(*_: object, **__: object) -> list[str]:
        raise StoreError(f"git fast-import failed: {next(said)}")

    monkeypatch.setattr(repo_module.Repository, "_import", fail)
    with pytest.raises(StoreError, match="corrupt"):
        commit(repo, "one")
    assert not (repo.git_dir / MARK).exists()
