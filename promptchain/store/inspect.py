"""What is wrong with a store, or may go wrong: behind `chain doctor`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from promptchain.errors import StoreError
from promptchain.store import collection, meta
from promptchain.store.repo import STALE, Repository
from promptchain.store.spool import Spool

LEAST_GIT = (2, 36)
"""The first that has `core.fsync`, without which what was acknowledged may be lost with the power."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that was found. serious: the store cannot be used, or has lost something."""

    subject: str
    message: str
    remedy: str | None = None
    serious: bool = False


def troubles(repo: Repository) -> Iterator[Trouble]:
    """Everything that is to be told of a store; nothing where it is well. Reads all that the store's refs reach."""
    yield from _git(repo)
    if not repo.exists:
        return
    try:
        yield from _refs(repo)
        meta.check(repo)
        yield from _objects(repo)
        yield from _remotes(repo)
    except StoreError as exc:
        yield Trouble("store", exc.message, exc.hint, serious=True)
    yield from _locks(repo)
    yield from _spool(repo)


def _git(repo: Repository) -> Iterator[Trouble]:
    said = repo.run("version", base=[])
    found = re.search(r"(\d+)\.(\d+)", said)
    if found and (int(found.group(1)), int(found.group(2))) < LEAST_GIT:
        yield Trouble("git", f"{said.strip()} may lose versions when the power fails", "install git 2.36 or newer")


def _refs(repo: Repository) -> Iterator[Trouble]:
    """Refs that name nothing, and folders that cannot be written."""
    folder = repo.git_dir / repo.prefix
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix != ".lock":
            try:
                repo.tip(file.relative_to(folder).as_posix())
            except StoreError as exc:
                yield Trouble("store", exc.message, "chain sync brings back what a remote has", serious=True)
    for place in (repo.git_dir, repo.git_dir / "objects", repo.state):
        if place.exists() and not os.access(place, os.W_OK):
            yield Trouble("store", f"{place} cannot be written: no version and no run is kept", "make it writable")


def _objects(repo: Repository) -> Iterator[Trouble]:
    tips = [*repo.refs().values()]
    if not tips:
        return
    try:
        repo.run("fsck", "--strict", "--connectivity-only", "--no-dangling", "--no-progress", *tips)
        repo.run("rev-list", "--objects", "--quiet", *tips)
    except StoreError as exc:
        remedy = "fetch what is missing: chain sync; or restore .git from a backup"
        told = str(getattr(exc.__cause__, "stdout", "")).strip().removeprefix("stdout: '").splitlines()
        what = next((line for line in told if line.startswith("missing ")), told[0] if told else exc.message)
        yield Trouble("store", f"objects are missing or damaged: {what}", remedy, serious=True)


def _remotes(repo: Repository) -> Iterator[Trouble]:
    """Remotes whose ordinary `git fetch` would delete what was not pushed."""
    try:
        lines = repo.run("config", "--get-regexp", r"^(remote\..*\.(fetch|prune)|fetch\.prune)$").splitlines()
    except StoreError:  # there is no such setting
        return
    settings = [(key, value) for key, _, value in (line.partition(" ") for line in lines)]
    prunes = {key.removesuffix(".prune") for key, value in settings if key.endswith(".prune") and value != "false"}
    for key, value in settings:
        remote = key.removesuffix(".fetch")
        target = value.rpartition(":")[2]
        pruning = sorted(prunes & {remote, "fetch"})
        if key == remote or not _covers(target, repo.prefix) or not pruning:
            continue
        name = remote.removeprefix("remote.")
        message = f"`git fetch {name}` prunes {target}: it deletes versions that were not pushed"
        yield Trouble(f"remote {name}", message, f"git config {pruning[0]}.prune false; and sync before you fetch")


def _covers(pattern: str, prefix: str) -> bool:
    """Whether a refspec's target has refs below the prefix in it."""
    return pattern.endswith("*") and f"{prefix}/".startswith(pattern.removesuffix("*"))


def _locks(repo: Repository) -> Iterator[Trouble]:
    for lock in sorted((repo.git_dir / repo.prefix).rglob("*.lock")):
        if _age(lock) > STALE:
            name = lock.relative_to(repo.git_dir)
            yield Trouble("lock", f"{name} was left by a git that crashed", "the next write removes it")
    mark = repo.git_dir / collection.MARK
    if mark.exists() and _age(mark) > collection.FORGOTTEN:
        yield Trouble("git gc", f"{mark} was left by a git gc that crashed", "run git gc once more")


def _spool(repo: Repository) -> Iterator[Trouble]:
    spool = Spool(repo.state)
    broken = sorted(path.name for path in spool.folder.glob("*.broken"))
    if broken:
        message = f"{len(broken)} records cannot be read: {', '.join(broken[:3])}"
        yield Trouble("runs", message, f"look at them in {spool.folder}, and remove them")
    if spool.claims():
        yield Trouble("runs", "a crash left records between the spool and git", "none is lost: chain runs")


def _age(path: Path) -> float:
    with suppress(OSError):
        return time.time() - path.stat().st_mtime
    return 0.0
