"""A pull request as GitHub Actions hands it to a job: a bare remote, a checkout of the merge, an event in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests import templates
from tests.cli import compile_kit
from tests.cli.git_kit import git, make_repo
from tests.fake_github import GitHub
from tests.workspace import CHAIN, Result, Workspace

GOOD = "Decide with care what the customer wants."
"""Instructions on which the model of `compile_kit` is right about everything."""
SEED = "Decide what the customer wants."
"""On these it is right half of the time."""
WORST = "Guess what the customer wants."
"""On these it is wrong about some of the easy rows too."""
_ASKED = f"{WORST}\n\nReply with exactly one of these, and nothing else: card, refund.\nClassify: easy test"
MODEL = ({"contains": _ASKED, "reply": "refund"}, *compile_kit.MODEL)
PULL, REPOSITORY = 7, "team/bank"


def _begin(folder: Path, text: str) -> None:
    """The author's project, and the remote that it was pushed to."""
    author, remote = Workspace(folder / "author"), folder / "bank.git"
    author.root.mkdir()
    compile_kit.project(author, text=text, model=MODEL)
    make_repo(author.root)
    git(folder, "clone", "--quiet", "--bare", str(author.root), str(remote))
    git(author.root, "remote", "add", "origin", f"file://{remote}")
    git(author.root, "fetch", "--quiet", "origin")


class Pull:
    """A pull request of `branch` into main. author: where it is written; runner: where the job checks it out."""

    def __init__(self, folder: Path, *, text: str = compile_kit.CHAIN, branch: str = "better") -> None:
        self.folder, self.branch = folder, branch
        self.remote = folder / "bank.git"
        self.author = Workspace(folder / "author")
        templates.copy(f"pull request {sha256(text.encode()).hexdigest()}", lambda half: _begin(half, text), folder)
        git(self.author.root, "remote", "set-url", "origin", self.url)
        git(self.author.root, "checkout", "--quiet", "-b", branch)
        self.runner = Workspace(folder / "runner")
        self.fork: str | None = REPOSITORY
        self.runs = 0
        self.summary, self.output = folder / "summary.md", folder / "output.txt"

    @property
    def url(self) -> str:
        return f"file://{self.remote}"

    def commit(self, message: str = "Change it") -> str:
        """Commit and push all that the author has; the commit."""
        git(self.author.root, "add", "--all")
        git(self.author.root, "commit", "--quiet", "--allow-empty", "--message", message)
        git(self.author.root, "push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{self.branch}")
        return git(self.author.root, "rev-parse", "HEAD")

    def replace(self, old: str, new: str, file: str = "chains/demo.yaml") -> None:
        path = self.author.root / file
        text = path.read_bytes().decode()
        assert text.count(old) == 1, (file, old)
        path.write_bytes(text.replace(old, new).encode())

    def checkout(self, *options: str, merge: bool = True) -> Path:
        """Check it out as actions/checkout does: the merge with main on a detached HEAD, or the branch."""
        if merge:
            self._merge()
        ref = f"refs/pull/{PULL}/merge" if merge else f"refs/heads/{self.branch}"
        root = self.folder / f"runner{self.runs}"
        self.runs += 1
        root.mkdir()
        git(root, "init", "--quiet", "--initial-branch", "unborn")
        git(root, "remote", "add", "origin", self.url)
        everything = [] if options else ["+refs/heads/*:refs/remotes/origin/*"]
        git(root, "fetch", "--quiet", "--no-tags", *options, "origin", f"+{ref}:refs/remotes/pull", *everything)
        git(root, "checkout", "--quiet", "--detach", "refs/remotes/pull")
        self.runner = Workspace(root)
        return root

    def _merge(self) -> None:
        """What GitHub keeps at refs/pull/N/merge."""
        root = self.folder / "merging"
        if not root.exists():
            git(self.folder, "clone", "--quiet", self.url, str(root))
        git(root, "fetch", "--quiet", "origin")
        git(root, "checkout", "--quiet", "--detach", "origin/main")
        git(root, "merge", "--quiet", "--no-ff", "--message", "Merge", f"origin/{self.branch}")
        git(root, "push", "--quiet", "--force", "origin", f"HEAD:refs/pull/{PULL}/merge")

    @property
    def event(self) -> dict[str, Any]:
        head = git(self.remote, "rev-parse", f"refs/heads/{self.branch}")
        base = git(self.remote, "rev-parse", "refs/heads/main")
        theirs = {"full_name": self.fork} if self.fork else None
        return {
            "number": PULL,
            "pull_request": {
                "number": PULL,
                "base": {"sha": base, "ref": "main", "repo": {"full_name": REPOSITORY}},
                "head": {"sha": head, "ref": self.branch, "repo": theirs},
            },
        }

    def environment(self, github: GitHub | None, **more: str) -> dict[str, str]:
        """The variables of a job for `pull_request`."""
        event = self.folder / "event.json"
        event.write_text(json.dumps(self.event))
        for file in (self.summary, self.output):
            file.write_text("")
        return {
            "PATH": f"{CHAIN.parent}{os.pathsep}{os.environ['PATH']}",
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_WORKSPACE": str(self.runner.root),
            "GITHUB_TOKEN": "ghs_0123456789abcdefghij",
            "GITHUB_API_URL": github.url if github else "http://127.0.0.1:9",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_RUN_ID": "42",
            "GITHUB_REF": f"refs/pull/{PULL}/merge",
            "GITHUB_REF_NAME": f"{PULL}/merge",
            "GITHUB_REF_TYPE": "branch",
            "GITHUB_HEAD_REF": self.branch,
            "GITHUB_BASE_REF": "main",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_OUTPUT": str(self.output),
            "RUNNER_TEMP": str(self.folder),
            **more,
        }

    def run(self, *words: str, github: GitHub | None = None, env: Mapping[str, str] | None = None) -> Result:
        """`chain ci pull-request` in the checkout, or other words of `chain ci`, with the job's variables; in this
        process, which is faster."""
        before = Path.cwd()
        with patch.dict(os.environ, {**self.environment(github), **(env or {})}):
            os.chdir(self.runner.root)
            try:
                return self.runner.invoke("ci", *(words or ("pull-request",)))
            finally:
                os.chdir(before)

    def start(self, *words: str, github: GitHub | None = None, env: Mapping[str, str] | None = None) -> Result:
        """The same in a process of its own, as the job runs it."""
        return self.runner.run("ci", *(words or ("pull-request",)), env={**self.environment(github), **(env or {})})

    @property
    def outputs(self) -> dict[str, str]:
        pairs = (line.partition("=") for line in self.output.read_text().splitlines())
        return {name: value for name, _, value in pairs}
