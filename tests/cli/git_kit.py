"""Real git for the tests of commands that keep versions and runs in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests import templates
from tests.workspace import Workspace

_IDENTITY = {
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
}


def git(folder: Path, *words: str) -> str:
    """What git prints in a folder."""
    environment = {**os.environ, **_IDENTITY}
    done = subprocess.run(["git", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_repo(folder: Path) -> None:
    """A repository whose user is Ann, with all that lies in the folder in its first commit."""
    templates.copy("repository of Ann", _init, folder)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "first")


def _init(folder: Path) -> None:
    git(folder, "init", "--quiet", "--initial-branch", "main", ".")
    git(folder, "config", "user.name", "Ann")
    git(folder, "config", "user.email", "ann@example.org")


def replace(workspace: Workspace, old: str, new: str, file: str = "chains/demo.yaml") -> None:
    """Change a text in a file that has it once."""
    path = workspace.root / file
    text = path.read_text()
    assert text.count(old) == 1, (file, old)
    path.write_text(text.replace(old, new))


def own_state(folder: Path) -> tuple[str, ...]:
    """What a command must leave alone: HEAD, the branches, the index, the work tree and the stash."""
    words = (
        ["rev-parse", "HEAD"],
        ["symbolic-ref", "HEAD"],
        ["for-each-ref", "refs/heads", "refs/tags", "refs/remotes", "refs/stash"],
        ["status", "--porcelain", "--ignored"],
        ["ls-files", "--stage"],
        ["diff"],
    )
    return tuple(git(folder, *command) for command in words)
