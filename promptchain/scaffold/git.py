"""What a new project asks of git: whether there is a repository, and its settings in this clone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from promptchain.errors import PromptChainError

SETTINGS = {
    "diff.promptchain.command": "chain diff --git-driver",
    "merge.promptchain.name": "compiled prompts, model by model",
    "merge.promptchain.driver": "chain compile --merge-driver %O %A %B",
}
"""Which programs a clone starts is said in the clone, never in the repository (gitattributes(5))."""

_KEPT = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
_TIMEOUT = 30.0


def is_installed() -> bool:
    return shutil.which("git") is not None


def top_of(folder: Path) -> Path | None:
    """The folder of the repository that `folder` is in, or None."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


def setting(top: Path, key: str) -> str | None:
    """A setting of this clone; None where it has none. Raises PromptChainError."""
    done = _git(top, "config", "--local", "--get", key)
    if done.returncode not in (0, 1):
        raise PromptChainError(f"git says: {_said(done)}")
    return done.stdout.removesuffix("\n") if done.returncode == 0 else None


def set_to(top: Path, key: str, value: str) -> None:
    """Raises PromptChainError."""
    _demand(_git(top, "config", "--local", key, value), f"git config {key}")


def make(folder: Path) -> None:
    """A repository in `folder`, which is made where it is not there. Raises PromptChainError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise PromptChainError(f"{folder} cannot be made: {exc.strerror or exc}") from exc
    _demand(_git(folder, "init", "--quiet"), "git init")


def answer(folder: Path, *words: str) -> str:
    """What a git command prints; empty where it fails."""
    try:
        done = _git(folder, *words)
    except PromptChainError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _demand(done: subprocess.CompletedProcess[str], what: str) -> None:
    if done.returncode:
        raise PromptChainError(f"{what} failed: {_said(done)}")


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """git in a folder, without what the environment says of repositories. Raises PromptChainError."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _KEPT}
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise PromptChainError(f"git could not be started: {exc}") from exc
