"""What the tests of the store share: real repositories in temporary folders, snapshots, and records of runs."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from promptchain.store.repo import Repository
from promptchain.store.runs import Runs
from promptchain.store.snapshot import Snapshot
from promptchain.store.spool import Spool
from promptchain.store.stream import NewCommit
from promptchain.store.sync import Report, sync
from promptchain.store.versions import Versions
from tests import templates

STRESS = int(os.environ.get("PROMPTCHAIN_STRESS", "1"))
"""How many times as long the tests that kill and race go on."""

ROOT = Path(__file__).parents[2]
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"


def git(folder: Path, *words: str | Path, **env: str) -> str:
    """What git prints in a folder. Its own hooks and settings hold, as they do for the user."""
    done = subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, env={**os.environ, **env}, timeout=300
    )
    assert done.returncode == 0, f"git {words}: {done.stderr}"
    return done.stdout


def work_tree(folder: Path) -> Repository:
    """A repository with commits, a branch, something staged, something changed and something untracked in it."""
    templates.copy("work_tree", _work_tree, folder)
    return Repository(folder / ".git")


def _work_tree(folder: Path) -> None:
    git(folder, "init", "-q", "-b", "main")
    who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    for name in ("committed", "changed", "staged"):
        (folder / name).write_text(name)
        git(folder, "add", name)
        git(folder, *who, "commit", "-q", "-m", name)
    git(folder, "branch", "other", "HEAD~1")
    (folder / "changed").write_text("otherwise")
    (folder / "staged").write_text("otherwise")
    git(folder, "add", "staged")
    (folder / "untracked").write_text("new")


def fingerprint(folder: Path) -> dict[str, Any]:
    """All of a work tree and its repository that the store must leave as it is."""
    own = folder / ".git"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and own not in path.parents]
    before = {name: (own / name).read_bytes() for name in ("HEAD", "index", "config")}
    refs = [line for line in git(folder, "show-ref", "--head").splitlines() if " refs/promptchain" not in line]
    status = git(folder, "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--ignored")
    logs = {str(path): path.read_bytes() for path in sorted((own / "logs").rglob("*")) if path.is_file()}
    return {
        **before,
        "refs": refs,
        "status": status,
        "files": {str(path): path.read_bytes() for path in files},
        "logs": {name: text for name, text in logs.items() if "promptchain" not in name},
        "fetched": (own / "FETCH_HEAD").exists(),
    }


def fsck(git_dir: Path) -> None:
    """Fails for anything that git finds wrong."""
    done = subprocess.run(
        ["git", f"--git-dir={git_dir}", "fsck", "--strict", "--full", "--no-dangling", "--no-progress"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("notice: ")]
    assert (done.returncode, said) == (0, []), said


def litter(git_dir: Path) -> list[str]:
    """What a failing git or a failing writer may leave."""
    patterns = ("fast_import_crash_*", "promptchain/**/*.tmp", "refs/promptchain/**/*.lock")
    marks = [mark for mark in git_dir.glob("objects/pack/*.keep") if not mark.with_suffix(".idx").exists()]
    return [str(path) for path in [*marks, *(path for pattern in patterns for path in git_dir.glob(pattern))]]


def content(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def snap(text: str, chain: str = "demo", **parts: Any) -> Snapshot:
    """A chain whose content id is the SHA-256 of `text`."""
    return Snapshot(chain, f"chains/{chain}.yaml", text.encode(), content(text), **parts)


def commit(repo: Repository, *texts: str, chain: str = "demo") -> list[int]:
    """Versions of a chain; their numbers."""
    return [Versions(repo).commit(snap(text, chain))[0].number for text in texts]


def texts(repo: Repository, chain: str = "demo") -> dict[int, str]:
    """The sources of all versions, by number, as they are read back."""
    versions = Versions(repo)
    found = {v.number: versions.snapshot(v).source.decode() for v in versions.log(chain)}
    return dict(sorted(found.items()))


def check_dense(repo: Repository, chain: str = "demo") -> None:
    numbers = [version.number for version in Versions(repo).log(chain)]
    assert numbers == list(range(len(numbers), 0, -1))


def at(number: int, day: str | None = None) -> str:
    """The id of the run that was the `number`th of a day; of this very day where none is given."""
    date = datetime.fromisoformat(day).replace(tzinfo=UTC) if day else datetime.now(UTC)
    milliseconds = int(date.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000) + number
    digits = "".join(_BASE32[milliseconds >> shift & 31] for shift in range(45, -1, -5))
    return digits + f"{number:016d}"


def record(run_id: str, **fields: Any) -> str:
    totals = {"calls": 2, "prompt_tokens": 30, "completion_tokens": 12, "cost": 0.01}
    usual = {"chain": "demo", "source": "c" * 64, "version": 1, "model": "m", "started": "2026-11-24T10:00:00Z"}
    data = {"id": run_id, **usual, "seconds": 0.5, "status": "done", "error": None, "totals": totals, **fields}
    return json.dumps(data)


def spool(repo: Repository, *run_ids: str, **fields: Any) -> None:
    for run_id in run_ids:
        Spool(repo.state).write(run_id, record(run_id, **fields), durable=False)


def recorded(repo: Repository) -> list[str]:
    """The ids of all runs wherever they are, each as often as it is there, without the index."""
    found = list(Spool(repo.state).ids())
    for month in repo.refs("runs"):
        listing = git(repo.git_dir, "ls-tree", "-r", "--name-only", f"{repo.prefix}/runs/{month}")
        for path in listing.split():
            lines = (repo.read(f"{repo.prefix}/runs/{month}:{path}") or b"").splitlines()
            found += [json.loads(line)["id"] for line in lines]
    return sorted(found)


def segments(repo: Repository) -> int:
    return sum(
        len(git(repo.git_dir, "ls-tree", "-r", "--name-only", f"{repo.prefix}/runs/{month}").split())
        for month in repo.refs("runs")
    )


def runs(repo: Repository) -> Runs:
    return Runs(repo)


def python(script: str, *words: str | Path, **env: str) -> subprocess.Popen[str]:
    """A process of its own that runs a script, which has the package and this kit to import."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )


def output(script: str, *words: str | Path, **env: str) -> str:
    process = python(script, *words, **env)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def put(repo: Repository, changes: dict[str, bytes | str | None], chain: str = "demo") -> None:
    """Write into a chain's tree whatever another program may."""
    tip = repo.tip(f"chains/{chain}")
    repo.write([NewCommit(f"chains/{chain}", "by hand", (tip,) if tip else (), changes)])


def _team(folder: Path) -> None:
    git(folder, "init", "-q", "--bare", "remote.git")
    work_tree(folder / "seed")
    git(folder / "seed", "push", "-q", folder / "remote.git", "main")


def _clone(folder: Path) -> None:
    """Of the remote as a team begins with it; clones take only its branches, which stay as they are."""
    origin = folder.with_name("for-clones")
    origin.mkdir()
    _team(origin)
    git(folder, "clone", "-q", f"file://{origin}/remote.git", ".")


class Team:
    """A bare remote and clones of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.remote = Repository(folder / "remote.git")
        templates.copy("team", _team, folder)

    def clone(self, name: str, *options: str, prefix: str = "refs/promptchain") -> Repository:
        if options:
            git(self.folder, "clone", "-q", *options, f"file://{self.remote.git_dir}", name)
        else:
            templates.copy("clone", _clone, self.folder / name)
            git(self.folder / name, "remote", "set-url", "origin", f"file://{self.remote.git_dir}")
        own = self.folder / name / ".git"
        return Repository(own if own.exists() else self.folder / name, prefix)


def label(repo: Repository, name: str, ref: str | None) -> None:
    versions = Versions(repo)
    versions.label("demo", name, versions.resolve("demo", ref) if ref else None)


def state(repo: Repository) -> dict[str, Any]:
    """Everything that is to be the same on all sides."""
    versions = Versions(repo)
    return {
        chain: ([v.to_json() for v in versions.log(chain)], texts(repo, chain), repo.tip(f"chains/{chain}"))
        for chain in versions.chains()
    }


def settle(*clones: Repository, runs: bool = False) -> None:
    """Sync until nobody has anything new, and see that all is the same."""
    for clone in (*clones, *clones):
        sync(clone, "origin", runs=runs)
    for one, other in itertools.pairwise(clones):
        assert state(one) == state(other)
    for clone in clones:
        fsck(clone.git_dir)
        again = sync(clone, "origin", runs=runs)
        assert again == Report("origin")
