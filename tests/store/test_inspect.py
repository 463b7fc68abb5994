"""What `chain doctor` finds in a store."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from promptchain.store.inspect import Trouble, troubles
from promptchain.store.repo import Repository
from promptchain.store.snapshot import Snapshot
from promptchain.store.spool import Spool
from promptchain.store.versions import Versions


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    git(tmp_path, "init", "-q")
    repo = Repository(tmp_path / ".git")
    for number in range(3):
        Versions(repo).commit(Snapshot("demo", "chains/demo.yaml", b"steps: %d" % number, f"{number:064x}"))
    return repo


def found(repo: Repository) -> list[Trouble]:
    repo.close()
    return list(troubles(repo))


def test_a_store_that_is_well_is_told_nothing_of(repo: Repository, tmp_path: Path) -> None:
    git(tmp_path, "remote", "add", "origin", "../elsewhere.git")
    git(tmp_path, "config", "fetch.prune", "true")  # of branches: the refspec has no more
    assert found(repo) == []
    assert found(Repository(tmp_path / "none" / "store.git")) == []


def test_a_lost_object_is_named(repo: Repository, tmp_path: Path) -> None:
    lost = git(tmp_path, "rev-parse", "refs/promptchain/chains/demo:versions/0/2/source.yaml").strip()
    (tmp_path / ".git/objects" / lost[:2] / lost[2:]).unlink()
    [trouble] = found(repo)
    assert (trouble.subject, trouble.serious) == ("store", True)
    assert lost in trouble.message


def test_a_damaged_object_is_found(repo: Repository, tmp_path: Path) -> None:
    tree = git(tmp_path, "rev-parse", "refs/promptchain/chains/demo:versions").strip()
    path = tmp_path / ".git/objects" / tree[:2] / tree[2:]
    path.chmod(0o644)
    path.write_bytes(b"garbage")
    [trouble] = found(repo)
    assert (trouble.subject, trouble.serious) == ("store", True)


def test_a_store_of_a_newer_release_is_told(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptchain.store.meta.FORMAT", 0)
    [trouble] = found(repo)
    assert "format 1" in trouble.message
    assert (trouble.remedy, trouble.serious) == ("install a newer promptchain, from where this one came", True)


def test_an_old_lock_is_told_and_a_fresh_one_is_not(repo: Repository) -> None:
    lock = repo.git_dir / "refs/promptchain/chains/demo.lock"
    lock.touch()
    assert found(repo) == []
    os.utime(lock, (1, 1))
    (repo.git_dir / "gc.pid").touch()
    os.utime(repo.git_dir / "gc.pid", (1, 1))
    assert [trouble.subject for trouble in found(repo)] == ["lock", "git gc"]


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"remote.origin.prune": "true"}, "git config remote.origin.prune false"),
        ({"fetch.prune": "true"}, "git config fetch.prune false"),
        ({"fetch.prune": "false"}, None),
        ({}, None),
    ],
)
def test_a_fetch_that_would_delete_versions_is_told(
    repo: Repository, tmp_path: Path, settings: dict[str, str], remedy: str | None
) -> None:
    git(tmp_path, "remote", "add", "--mirror=fetch", "origin", "../elsewhere.git")
    for key, value in settings.items():
        git(tmp_path, "config", key, value)
    told = found(repo)
    assert [(trouble.remedy or "").partition(";")[0] for trouble in told] == ([remedy] if remedy else [])
    # And so it is: what the doctor says would happen, happens.
    git(tmp_path, "init", "-q", "--bare", str(tmp_path / "elsewhere.git"))
    git(tmp_path, "remote", "set-url", "origin", str(tmp_path / "elsewhere.git"))
    git(tmp_path, "fetch", "-q", "origin")
    assert (repo.tip("chains/demo") is None) is bool(remedy)


def test_what_a_crash_left_in_the_spool_is_told(repo: Repository) -> None:
    spool = Spool(repo.state)
    spool.write("0" * 26, "{}")
    spool.set_aside("0" * 26)
    spool.claim("x", ["0" * 26], "runs/2026-11", "seg/24/x.jsonl")
    assert [trouble.subject for trouble in found(repo)] == ["runs", "runs"]
