"""The door to git: reads, transactions, and that nothing around a repository decides what is run."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from promptchain import location
from promptchain.errors import StoreError, UsageError
from promptchain.store.repo import Moved, Repository
from promptchain.store.stream import NewCommit
from promptchain.store.versions import Versions
from tests.store import kit
from tests.store.kit import commit, fsck, git, texts


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return kit.work_tree(tmp_path / "project")


def new(text: bytes | None, *parents: str, path: str = "a/b", ref: str = "chains/x") -> NewCommit:
    return NewCommit(ref, "a message", parents, {path: text})


# --- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        "refs/promptchain/none:a",
        "refs/heads/main:none",
        "refs/heads/main:my file",
        "0" * 40,
        "",
        "a\nb",
        "a\0b",
        "\udce9",
    ],
)
def test_what_is_missing_is_none(repo: Repository, spec: str) -> None:
    assert repo.read(spec) is None
    assert repo.commit(spec) is None
    assert repo.tree(spec) == {}
    assert repo.read("refs/heads/main:committed") == b"committed"  # and the next answer is that of the next question


def test_a_tree_is_no_blob_and_a_blob_no_tree(repo: Repository) -> None:
    assert repo.read("refs/heads/main:") is None
    assert repo.tree("refs/heads/main:committed") == {}
    assert set(repo.tree("refs/heads/main:")) == {"committed", "changed", "staged"}


def test_a_commit_is_read_with_its_parents(repo: Repository) -> None:
    found = repo.commit("refs/heads/main")
    assert found is not None
    assert (found.author, found.message) == ("Ann <ann@example.org>", "staged\n")
    assert found.parents == (git(repo.git_dir, "rev-parse", "main~1").strip(),)


@pytest.mark.parametrize("collect", [False, True])
def test_a_reader_sees_what_came_after_it_began(repo: Repository, collect: bool) -> None:
    assert repo.tip("chains/x") is None
    with Repository(repo.git_dir) as other:
        [first] = other.write([new(b"one")])
        assert repo.read("refs/promptchain/chains/x:a/b") == b"one"
        if collect:
            git(repo.git_dir, "gc", "-q", "--prune=now")
        assert repo.read("refs/promptchain/chains/x:a/b") == b"one"
        other.write([new(b"two", first)])
        if collect:
            git(repo.git_dir, "gc", "-q", "--prune=now")
    assert repo.read("refs/promptchain/chains/x:a/b") == b"two"
    assert repo.read(f"{first}:a/b") == b"one"


def test_a_reader_that_was_killed_is_started_again(repo: Repository) -> None:
    assert repo.read("refs/heads/main:committed") == b"committed"
    reader = repo._git.cat_file_all.proc
    reader.kill()
    reader.wait()
    assert repo.read("refs/heads/main:committed") == b"committed"


def test_a_damaged_repository_is_one_clear_error(repo: Repository) -> None:
    (repo.git_dir / "HEAD").write_text("garbage")
    with pytest.raises(StoreError, match="git cannot read"):
        repo.read("refs/heads/main:committed")


def test_a_revision_is_that_of_the_work_tree(repo: Repository, tmp_path: Path) -> None:
    folder = tmp_path / "project" / "my folder"
    folder.mkdir()
    expected = git(folder, "rev-parse", "HEAD~1").strip()
    assert repo.revision(folder, "HEAD~1") == (expected, "my folder/")
    for name in ("nothing", "--help", "a\0b", "HEAD:committed"):
        with pytest.raises(UsageError, match="no revision"):
            repo.revision(folder, name)
    with pytest.raises(StoreError):
        repo.revision(tmp_path, "HEAD")


# --- writing ------------------------------------------------------------------------------------------------------


def test_a_write_moves_its_refs_and_is_whole(repo: Repository) -> None:
    first, other = repo.write([new(b"one"), new(b"two", ref="chains/y", path='sp ace/"quo\tte\\é')])
    assert repo.refs("chains") == {"x": first, "y": other}
    assert repo.read(f'{other}:sp ace/"quo\tte\\é') == b"two"
    [second] = repo.write([NewCommit("chains/x", "m", (first,), {"a/b": None, "c": b"3", "d": b""})])
    assert set(repo.tree(f"{second}:")) == {"c", "d"}
    [third] = repo.write([NewCommit("chains/x", "m", (second, other), {"e": repo.tree(f"{second}:")["c"].sha})])
    found = repo.commit(third)
    assert found is not None
    assert found.parents == (second, other)
    assert repo.read(f"{third}:e") == b"3"
    fsck(repo.git_dir)


def test_a_write_onto_a_ref_that_moved_changes_nothing(repo: Repository) -> None:
    [first] = repo.write([new(b"one")])
    [second] = repo.write([new(b"two", first)])
    for parents in ((first,), ()):
        with pytest.raises(Moved):
            repo.write([new(b"three", *parents)])
    assert repo.tip("chains/x") == second
    assert kit.litter(repo.git_dir) == []


def test_a_write_that_git_refuses_leaves_no_report(repo: Repository) -> None:
    with pytest.raises(StoreError, match="fast-import"):
        repo.write([new(b"one", "0" * 39 + "1")])
    assert kit.litter(repo.git_dir) == []
    assert repo.refs() == {}


@pytest.mark.parametrize("age", [0, 30])
def test_a_fresh_lock_of_a_ref_is_respected(repo: Repository, age: int) -> None:
    commit(repo, "one")
    lock = repo.git_dir / "refs/promptchain/chains/demo.lock"
    lock.touch()
    os.utime(lock, (time.time() - age,) * 2)
    with pytest.raises(StoreError, match="locked"):
        commit(repo, "two")
    assert lock.exists()
    assert texts(repo) == {1: "one"}
    lock.unlink()
    assert commit(repo, "two") == [2]


def test_a_lock_that_a_crash_left_is_removed(repo: Repository) -> None:
    commit(repo, "one")
    lock = repo.git_dir / "refs/promptchain/chains/demo.lock"
    lock.touch()
    os.utime(lock, (time.time() - 90,) * 2)
    assert commit(repo, "two") == [2]
    assert kit.litter(repo.git_dir) == []


def test_what_is_written_beside_a_collection_survives_it(repo: Repository) -> None:
    commit(repo, "one")
    assert not list(repo.git_dir.glob("objects/pack/*.pack"))
    (repo.git_dir / "gc.pid").write_text("1 elsewhere")
    commit(repo, "two")
    assert list(repo.git_dir.glob("objects/pack/*.pack"))  # where a collection under way does not look
    git(repo.git_dir, "prune", "--expire=now")
    assert texts(repo) == {1: "one", 2: "two"}
    fsck(repo.git_dir)


# --- who writes ---------------------------------------------------------------------------------------------------


def author(repo: Repository) -> str:
    [sha] = Repository(repo.git_dir).write([new(b"one", ref="chains/who")])
    found = repo.commit(sha)
    assert found is not None
    fsck(repo.git_dir)
    return found.author


def test_the_user_of_git_is_the_author(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    git(repo.git_dir, "config", "user.name", "Zoë Ünal")
    git(repo.git_dir, "config", "user.email", "zoe@example.org")
    assert author(repo) == "Zoë Ünal <zoe@example.org>"
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Bot")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "bot@example.org")
    assert Repository(repo.git_dir).identity == "Bot <bot@example.org>"


@pytest.mark.parametrize("settings", [{}, {"core.logAllRefUpdates": "always"}, {"user.useConfigOnly": "true"}])
def test_without_an_identity_it_is_written_all_the_same(repo: Repository, settings: dict[str, str]) -> None:
    for key, value in settings.items():
        git(repo.git_dir, "config", key, value)
    assert "<" in author(repo)
    assert commit(repo, "one") == [1]


@pytest.mark.parametrize("where", ["config", "environment"])
def test_a_hostile_name_stays_a_name(repo: Repository, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, email = "A <evil>\nB\n\nfrom :1", "x@y>\n<z"
    if where == "config":
        git(repo.git_dir, "config", "user.name", name)
        git(repo.git_dir, "config", "user.email", email)
    else:
        monkeypatch.setenv("GIT_COMMITTER_NAME", name)
        monkeypatch.setenv("GIT_COMMITTER_EMAIL", email)
    assert author(repo) == "A evilBfrom :1 <x@yz>"


def test_a_name_that_is_no_unicode_is_kept_as_far_as_it_can_be(repo: Repository) -> None:
    with (repo.git_dir / "config").open("ab") as file:
        file.write(b"[user]\n\tname = Jos\xe9\n\temail = jose@example.org\n")
    commit(repo, "one", "two")
    assert commit(repo, "one") == [1]
    assert [version.author for version in Versions(repo).log("demo")] == ["Jos\udce9"] * 2


# --- kinds of repositories ----------------------------------------------------------------------------------------


def test_a_project_without_git_gets_a_bare_repository(tmp_path: Path) -> None:
    repo = Repository(location.git_folder(tmp_path))
    assert (repo.read("HEAD"), repo.refs(), Versions(repo).chains()) == (None, {}, [])
    assert list(tmp_path.iterdir()) == []  # to read makes nothing
    assert commit(repo, "one") == [1]
    assert git(repo.git_dir, "rev-parse", "--is-bare-repository") == "true\n"
    assert (tmp_path / ".promptchain/.gitignore").read_text() == "*\n"
    assert not list((repo.git_dir).glob("hooks/*"))
    fsck(repo.git_dir)


def test_a_bare_repository_is_made_once_by_many_at_once(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from promptchain.store.repo import Repository
from tests.store import kit
print(kit.commit(Repository(Path(sys.argv[1])), sys.argv[2]))
"""
    for attempt in range(2 * kit.STRESS):
        where = tmp_path / str(attempt) / ".promptchain/store.git"
        processes = [kit.python(script, where, f"text {number}") for number in range(4)]
        for process in processes:
            _, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
        assert set(texts(Repository(where)).values()) == {f"text {number}" for number in range(4)}


def test_half_a_repository_is_made_whole(tmp_path: Path) -> None:
    repo = Repository(tmp_path / "store.git")
    repo.git_dir.mkdir()
    (repo.git_dir / "HEAD").write_text("ref: refs/heads/main\n")  # as `git init` leaves it when it is killed
    assert commit(repo, "one") == [1]


def test_a_repository_with_sha_256_is_one_clear_error(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--object-format=sha256")
    for _ in range(2):
        with Repository(tmp_path / ".git") as repo, pytest.raises(StoreError, match="SHA-256"):
            commit(repo, "one")


@pytest.mark.parametrize("quiet", [{}, {"GIT_PYTHON_REFRESH": "quiet"}])
def test_without_git_there_is_one_clear_error(repo: Repository, tmp_path: Path, quiet: dict[str, str]) -> None:
    script = """
import sys
from pathlib import Path
from promptchain.errors import StoreError
for _ in range(2):
    try:
        from promptchain.store.repo import Repository
        from promptchain.store.versions import Versions
        Versions(Repository(Path(sys.argv[1]))).log("demo")
    except StoreError as exc:
        print(exc)
"""
    said = kit.output(script, repo.git_dir, PATH=str(tmp_path), **quiet)
    assert said == "git is not installed; install git 2.36 or newer; versions and runs are kept in it\n" * 2


def test_linked_work_trees_share_a_store(repo: Repository, tmp_path: Path) -> None:
    git(repo.git_dir, "worktree", "add", "-q", tmp_path / "linked", "other")
    linked = Repository(location.git_folder(tmp_path / "linked"))
    assert linked.git_dir == repo.git_dir.resolve()
    assert commit(linked, "one") == [1]
    assert commit(repo, "two") == [2]
    assert texts(linked) == {1: "one", 2: "two"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_one_clear_error(repo: Repository) -> None:
    commit(repo, "one")
    repo.state.chmod(0o555)
    try:
        with pytest.raises(StoreError, match="locked"):
            commit(repo, "two")
        assert texts(repo) == {1: "one"}
    finally:
        repo.state.chmod(0o755)


def test_a_store_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / ".promptchain").write_text("a file")
    with pytest.raises(StoreError, match="cannot be made"):
        commit(Repository(tmp_path / ".promptchain/store.git"), "one")
