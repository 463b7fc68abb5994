"""Many processes at once, killed at any instant, beside a garbage collection, and on a full disk."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from promptchain.store.repo import Repository
from promptchain.store.runs import Runs
from promptchain.store.versions import Versions
from tests.patience import PATIENCE, until
from tests.store import kit
from tests.store.kit import check_dense, commit, content, fsck, git, recorded, texts

WRITER = """
import itertools, sys
from pathlib import Path
from promptchain.records import new_run_id
from promptchain.store.repo import Repository
from promptchain.store.runs import Runs
from promptchain.store.spool import Spool
from promptchain.store.versions import Versions
from tests.store import kit

folder, name, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
repo = Repository(folder)
for number in range(times) if times else itertools.count():
    if (folder / "stop").exists():
        break
    version, _ = Versions(repo).commit(kit.snap(f"{name} {number}"))
    print("version", version.number, version.content, flush=True)
    run_id = new_run_id()
    Spool(repo.state).write(run_id, kit.record(run_id))
    print("run", run_id, flush=True)
    if number % 3 == 2:
        Runs(repo).flush(everything=True)
"""


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    git(tmp_path, "init", "-q")
    return Repository(tmp_path / ".git")


def acknowledged(lines: list[str]) -> tuple[list[str], list[str]]:
    """The versions as "number content", and the runs; a line that the kill cut off says nothing."""
    words = [line.split() for line in lines]
    versions = [f"{w[1]} {w[2]}" for w in words if w[:1] == ["version"] and len(w) == 3 and len(w[2]) == 64]
    return versions, [w[1] for w in words if w[:1] == ["run"] and len(w) == 2 and len(w[1]) == 26]


def at_work(repo: Repository) -> list[str]:
    """The git processes that write into a repository: that of a writer which was killed ends what it has begun."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = process.read_text(errors="replace").split("\0")
            if "git" in words[0] and str(repo.git_dir) in " ".join(words) and "cat-file" not in words:
                found.append(" ".join(words))
    return found


def check(repo: Repository, lines: list[str]) -> None:
    """Every version and run that was acknowledged is there, once."""
    until(lambda: not at_work(repo))
    versions, runs = acknowledged(lines)
    assert versions
    log = Versions(repo).log("demo")
    assert set(versions) <= {f"{version.number} {version.content}" for version in log}
    assert max(Counter(version.content for version in log).values()) == 1
    check_dense(repo)
    assert {content(text) for text in texts(repo).values()} == {version.content for version in log}
    Runs(repo).flush(everything=True)
    found = Counter(recorded(repo))
    assert set(runs) <= set(found)
    assert set(found.values()) <= {1}
    assert Runs(repo).spool.claims() == []
    fsck(repo.git_dir)


def test_eight_processes_lose_no_update(repo: Repository) -> None:
    times = 6 * kit.STRESS
    processes = [kit.python(WRITER, repo.git_dir, f"writer {number}", str(times)) for number in range(8)]
    lines: list[str] = []
    for process in processes:
        out, err = process.communicate(timeout=600 * kit.STRESS)
        assert process.returncode == 0, err
        lines += out.splitlines()
    assert len(acknowledged(lines)[0]) == len(acknowledged(lines)[1]) == 8 * times
    check(repo, lines)
    assert len(texts(repo)) == len(recorded(repo)) == 8 * times


def test_kills_at_any_instant_lose_nothing_that_was_acknowledged(repo: Repository) -> None:
    chance = random.Random()
    lines: list[str] = []
    kills = 24 * kit.STRESS

    def start(number: int) -> subprocess.Popen[str]:
        return kit.python(WRITER, repo.git_dir, f"writer {number}", "0")

    def end(process: subprocess.Popen[str]) -> None:
        """Kill it, once it is at it: what it says first may have been said long ago."""
        assert process.stdout is not None
        assert process.stderr is not None
        lines.append(process.stdout.readline())
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        with process, process.stdout, process.stderr:
            lines.extend(process.stdout.readlines())
            err = process.stderr.read()
        assert "Traceback" not in err, err

    writers = [start(number) for number in range(4)]
    for number in range(4, kills):
        end(writers.pop(chance.randrange(len(writers))))
        writers.append(start(number))
    for process in writers:
        end(process)
    check(repo, lines)
    left = [name for name in kit.litter(repo.git_dir) if not name.endswith(".tmp")]
    assert left == []
    assert commit(repo, "afterwards")[0] == len(texts(repo))


def test_a_collection_beside_writers_deletes_nothing(repo: Repository) -> None:
    lines: list[str] = []
    ended = threading.Event()
    collections = 0
    problems = ""

    def collect() -> None:
        nonlocal collections
        while not ended.is_set():
            subprocess.run(["git", f"--git-dir={repo.git_dir}", "gc", "-q", "--prune=now"], capture_output=True)
            collections += 1

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        writers = [kit.python(WRITER, repo.git_dir, f"writer {number}", "0") for number in range(2)]
        for _ in range(6 * kit.STRESS):
            lines += [line for process in writers if process.stdout for line in islice(process.stdout, 6)]
            before = collections
            until(lambda: collections > before)  # noqa: B023
        (repo.git_dir / "stop").touch()
        for process in writers:
            assert process.stdout is not None
            assert process.stderr is not None
            with process, process.stdout, process.stderr:
                lines += process.stdout.readlines()
                problems += process.stderr.read()
    finally:
        ended.set()
        thread.join(PATIENCE)
    assert not problems, problems
    check(repo, lines)
    git(repo.git_dir, "gc", "-q", "--prune=now")
    check(repo, lines)
    assert kit.litter(repo.git_dir) == []


# --- a full disk ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


FILLER = """
import sys
from pathlib import Path
from promptchain.errors import StoreError
from promptchain.records import new_run_id
from promptchain.store.repo import Repository
from promptchain.store.runs import Runs
from promptchain.store.spool import Spool
from promptchain.store.versions import Versions
from tests.store import kit
import os, resource

repo = Repository(Path(sys.argv[1]))
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

def version(number):
    text = f"{sys.argv[2]} {number}"
    body = os.urandom(40_000 if not limit else limit + 1000).hex().encode()
    found, _ = Versions(repo).commit(kit.snap(text, files={"f": body}))
    print("version", found.number, found.content, flush=True)

def run(number):
    run_id = new_run_id()
    Spool(repo.state).write(run_id, kit.record(run_id, text="x" * (40_000 if not limit else limit + 1000)))
    print("run", run_id, flush=True)

for what in (version, run, lambda _: Runs(repo).flush(everything=True)):
    for number in range(60):
        try:
            what(number)
        except StoreError as exc:
            print("refused", exc, flush=True)
            break
"""


def check_full(repo: Repository, lines: list[str]) -> None:
    refused = [line for line in lines if line.startswith("refused")]
    assert refused
    assert all("No space left" in line or "File too large" in line for line in refused), refused
    assert "fast_import_crash" not in " ".join(kit.litter(repo.git_dir))
    versions, runs = acknowledged(lines)
    log = {f"{version.number} {version.content}" for version in Versions(repo).log("demo")}
    assert set(versions) <= log
    assert sorted(set(recorded(repo))) == sorted(runs)
    fsck(repo.git_dir)


def test_a_full_disk_damages_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small"):
        git(tmp_path / "small", "init", "-q")
        with Repository(tmp_path / "small/.git") as repo:
            commit(repo, "before")
            balloon = tmp_path / "small/balloon"
            balloon.write_bytes(b"x" * 300_000)
            lines = kit.output(FILLER, repo.git_dir, "0").splitlines()
            assert len(acknowledged(lines)[0]) > 2
            check_full(repo, lines)
            balloon.unlink()
            assert commit(repo, "afterwards")[0] == len(texts(repo))
            assert recorded(repo) == sorted(acknowledged(lines)[1])
            check_dense(repo)
            fsck(repo.git_dir)


def test_a_file_that_may_not_grow_damages_nothing(repo: Repository) -> None:
    assert hasattr(resource, "RLIMIT_FSIZE")
    commit(repo, "before")
    lines = kit.output(FILLER, repo.git_dir, "60000").splitlines()
    assert acknowledged(lines) == ([], [])
    check_full(repo, lines)
    assert texts(repo) == {1: "before"}
    assert commit(repo, "afterwards") == [2]
    assert not [name for name in os.listdir(repo.git_dir) if name.startswith("fast_import_crash")]  # noqa: PTH208
